"""Tests of `why`: what a run waits for, in words."""

import json
import time

import pytest

from penstock.cli.why_text import headline, reasons

NOW_MS = 1_000_000_000_000
HOUR_MS = 3_600_000
FAILURE = {"type": "ConnectionError", "message": "no route", "kind": "error"}


def run_of(**fields):
    return {
        "workflow_id": "order-1", "run_id": "r", "type": "fulfil", "status": "running", "closed_ms": None,
        "started_ms": NOW_MS - 5 * HOUR_MS, **fields,
    }  # fmt: skip


def activity(**fields):
    return {
        "activity": "charge", "sequence": 1, "attempt": 1, "queue": "payments", "scheduled_ms": NOW_MS - 2 * HOUR_MS,
        "retry_ms": 0, "failure": None, "retries_max": -1, **fields,
    }  # fmt: skip


def event(name, hours_ago, **fields):
    return {"number": 1, "event": name, "at_ms": NOW_MS - int(hours_ago * HOUR_MS), **fields}


def texts(run, history=(), queues=("payments",)):
    return [one.text for one in reasons(run, history, queues, NOW_MS)]


@pytest.mark.parametrize(
    ("run", "history", "expected"),
    [
        (
            run_of(signals_awaited=["approval"], pending_timers=[{"sequence": 2, "due_ms": NOW_MS + 45 * HOUR_MS}]),
            [event("TimerStarted", 3, sequence=2)],
            ["waits for signal approval since 3 h, gives up in 45 h"],
        ),
        (
            run_of(signals_awaited=["approval", "veto"]),
            [event("TimerFired", 3, sequence=2)],
            ["waits for signal approval since 3 h at least", "waits for signal veto since 3 h at least"],
        ),
        (
            run_of(conditions_awaited=1, pending_timers=[{"sequence": 2, "due_ms": NOW_MS - 3_000}]),
            [event("TimerStarted", 3, sequence=2)],
            ["waits for a condition of its code since 3 h, gives up now (3 s overdue)"],
        ),
        (
            run_of(pending_timers=[{"sequence": 2, "due_ms": NOW_MS + 72 * HOUR_MS}]),
            [event("TimerStarted", 4, sequence=2)],
            ["waits for a timer since 4 h, which ends in 3 d"],
        ),
        (
            run_of(pending_activities=[activity(attempt=3, retry_ms=NOW_MS + 12_000, failure=FAILURE)]),
            [],
            ["waits for attempt 4 of charge in 12 s: attempt 3 failed: ConnectionError: no route"],
        ),
        (
            run_of(pending_activities=[activity(attempt=2, retries_max=5, failure=FAILURE)]),
            [],
            [
                (
                    "waits for charge, attempt 2 of 6, on queue payments since 2 h; attempt 1 failed: "
                    "ConnectionError: no route"
                )
            ],
        ),
        (
            run_of(pending_activities=[activity(begun_ms=NOW_MS - 9_000, worker="w-1", times_out_ms=NOW_MS + 21_000)]),
            [],
            ["waits for charge, attempt 1, running on w-1 since 9 s, times out in 21 s"],
        ),
        (
            run_of(pending_activities=[activity(begun_ms=NOW_MS - 9_000, outside=True)]),
            [],
            ["waits for charge, attempt 1, completed from outside, open since 9 s"],
        ),
        (
            run_of(pending_children=[{"sequence": 4, "workflow_id": "ship-7", "workflow_type": "ship"}]),
            [event("ChildScheduled", 1, sequence=4)],
            ["waits for the child ship-7 (ship) since 60 min"],
        ),
        (run_of(begins_ms=NOW_MS + 2 * HOUR_MS), [], ["begins in 2 h, as its start asks"]),
        (run_of(), [], ["waits for nothing that is recorded; its code may be running at this moment"]),
        (run_of(status="completed", closed_ms=NOW_MS - HOUR_MS), [], []),
        (
            run_of(status="blocked", blocked_reason="code_error", blocked_message="NameError: x\nTraceback"),
            [event("WorkflowBlocked", 2)],
            ["is BLOCKED since 2 h by code_error: NameError: x; mend that, then `penstock unblock`"],
        ),
        (
            run_of(status="paused", paused_ms=NOW_MS - 2 * HOUR_MS, paused_by="ann", pause_reason="audit"),
            [],
            ["is paused since 2 h by ann (audit): `penstock resume` lets it go on"],
        ),
        (
            run_of(unhosted=["no live worker hosts the activity charge"], pending_activities=[activity()]),
            [],
            [
                "no live worker hosts the activity charge",
                "waits for charge, attempt 1, on queue payments since 2 h",
            ],
        ),
    ],
)  # fmt: skip
def test_reasons(run, history, expected):
    """Each kind of wait has a sentence with what is waited for, since when, and what ends it."""
    assert texts(run, history) == expected


def test_a_queue_without_a_worker():
    """An activity on a queue that no live worker serves says so; without knowledge of the workers nothing is said."""
    run = run_of(pending_activities=[activity()])
    assert texts(run, queues=["default"]) == [
        "waits for charge, attempt 1, on queue payments since 2 h; no worker listens on payments"
    ]
    assert texts(run, queues=None) == ["waits for charge, attempt 1, on queue payments since 2 h"]


def test_headlines():
    """The first line says what the run is, and since when."""
    assert headline(run_of(), NOW_MS) == "order-1 (fulfil) is running; it was started 5 h ago"
    assert headline(run_of(status="failed", closed_ms=NOW_MS - 2 * HOUR_MS), NOW_MS).endswith("(fulfil) failed 2 h ago")


def test_the_verb(run):
    """why explains a run of a namespace, as text and JSON."""
    run("start", "cli-waits", "--id", "asked-why")
    ended = run("why", "asked-why")
    assert ended.stdout.startswith("asked-why (cli-waits) is running; it was started ")
    assert "  waits for signal go since " in ended.stdout
    (wait,) = json.loads(run("why", "asked-why", "--output", "json").stdout)["waits"]
    assert (wait["kind"], wait["until_ms"]) == ("signal", None)
    assert abs(wait["since_ms"] - time.time() * 1000) < 60_000
    run("terminate", "asked-why")
    assert "asked-why (cli-waits) was terminated " in run("why", "asked-why").stdout
    assert "no run with the id missing" in run("why", "missing", code=4).stderr
