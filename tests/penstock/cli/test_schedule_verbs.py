"""Tests of `penstock schedule` on a running namespace."""

import json
from datetime import UTC, datetime, timedelta

from tests.penstock.cli.helpers import one_message


def test_a_schedule_from_creation_to_deletion(run):
    """create, list, show, pause, resume and delete do what they say, and print it."""
    created = run("schedule", "create", "cli-nightly", "cli-trial", "--input", "4", "--cron", "0 2 * * *",
                  "--timezone", "Europe/Prague", "--note", "for the shop")  # fmt: skip
    assert "the schedule cli-nightly starts cli-trial next at 20" in created.stderr
    listed = " ".join(run("schedule", "list").stdout.split())  # other schedules may make the columns wider
    assert "cli-nightly cli-trial 0 2 * * * Europe/Prague" in listed
    run("schedule", "pause", "cli-nightly", "--note", "month's end")
    shown = run("schedule", "show", "cli-nightly").stdout
    assert "cli-nightly  cli-trial  PAUSED" in shown
    assert "month's end" in shown
    run("schedule", "resume", "cli-nightly")
    found = json.loads(run("schedule", "show", "cli-nightly", "--output", "json").stdout)
    assert len(found["upcoming_ms"]) == 5
    run("schedule", "delete", "cli-nightly")
    one_message(run("schedule", "show", "cli-nightly", code=4), "There is no schedule cli-nightly")


def test_trigger_and_backfill(run):
    """trigger prints the id of its run, whose result can be awaited; backfill says how many ticks its range has."""
    run("schedule", "create", "cli-hourly", "cli-trial", "--input", "4", "--every", "1h", "--paused")
    id = run("schedule", "trigger", "cli-hourly").stdout.strip()
    assert run("result", id, "--timeout", "20s").stdout == "8\n"
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    span = [(now - timedelta(hours=hours)).isoformat() for hours in (3, 1)]
    assert "the range has 3 ticks" in run("schedule", "backfill", "cli-hourly", *span).stderr
    assert f"{id}  completed" in run("schedule", "show", "cli-hourly").stdout


def test_mistakes_in_schedules(run):
    """A wrong expression, zone, moment or name is one message, with the exit code of its kind."""
    for words, code, said in (
        (("--cron", "0 25 * * *"), 2, "wrong in its hour, '25'"),
        (("--cron", "0 2 * * *", "--timezone", "Europe/Prag"), 2, "Did you mean 'Europe/Prague'?"),
        (("--every", "1h", "--start", "tomorrow"), 2, "The moment 'tomorrow' is not like"),
        ((), 2, "has no ticks"),
        (("--every", "1h", "--input", '"x"'), 1, "cannot take this input"),
    ):
        one_message(run("schedule", "create", "cli-wrong", "cli-trial", *words, code=code), said)
    one_message(run("schedule", "create", "cli-wrong", "nothing", "--every", "1h", code=1), "called 'nothing'")
    one_message(run("schedule", "pause", "cli-none", code=4), "There is no schedule cli-none")
    run("schedule", "create", "cli-twice", "cli-trial", "--input", "1", "--every", "1h")
    again = ("schedule", "create", "cli-twice", "cli-trial", "--input", "1", "--every", "2h")
    one_message(run(*again, code=1), "There is a schedule cli-twice")
    assert "next at" in run(*again, "--may-exist").stderr
