"""Are answers readable, on a terminal and in a pipe?"""

import os
import sys

import msgspec
import pytest

from penstock.cli import output
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.run import InputIgnored, ResultAwaited

HOUR_MS = 3_600_000


def event(number, name, **facts):
    return {"number": number, "event": name, "at_ms": number * 1_000, **facts}


FAILURE = {"type": "bank.CardDeclined", "message": "no\nfunds", "kind": "error", "traceback": "T", "causes": []}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (event(1, "WorkflowStarted", workflow_type="fulfil", version=1, input={"id": "1"}), 'fulfil {"id":"1"}'),
        (event(2, "ActivityScheduled", sequence=1, activity="charge", input=[1], queue="default"), "#1 charge [1]"),
        (event(2, "ActivityScheduled", sequence=1, activity="pay", input=None, queue="bank"), "#1 pay null on bank"),
        (event(3, "ActivityCompleted", sequence=1, attempt=1, result="ok"), '#1 "ok"'),
        (event(3, "ActivityCompleted", sequence=1, attempt=3, result="ok"), '#1 "ok" attempt 3'),
        (event(4, "ActivityFailed", sequence=2, attempt=1, failure=FAILURE), "#2 CardDeclined: no funds"),
        (
            event(4, "ActivityAttemptFailed", sequence=2, attempt=1, failure=FAILURE, retry_ms=5_000),
            f"#2 attempt 1 CardDeclined: no funds; again at {output.clock(5_000)}",
        ),
        (event(5, "SignalReceived", signal="go", input=None, message_id="m"), "go null"),
        (event(6, "TimerFired", sequence=4), "#4"),
        (event(7, "WorkflowTerminated", reason=""), ""),
        (event(8, "EventOfANewerProcessor", colour="red"), "red"),
    ],
)
def test_words_of_an_event(told, words):
    """An event reads as its essential facts on one line."""
    assert output.event_words(told) == words


def test_every_event_has_words():
    """Each event of the schemas says what of it is essential, by fields that it has."""
    unnumbered = {InputIgnored, ResultAwaited}  # they stand in no history
    records = {record.__name__: record for record in Event.__args__ if record not in unnumbered}
    assert set(output.ESSENTIAL) == set(records)
    for name, essential in output.ESSENTIAL.items():
        assert set(essential) <= set(records[name].__struct_fields__), name


def test_moments_to_come():
    """A timer that is far off tells its date, a near one the time alone."""
    near = output.event_words(event(1, "TimerStarted", sequence=1, due_ms=HOUR_MS))
    far = output.event_words(event(1, "TimerStarted", sequence=1, due_ms=48 * HOUR_MS))
    assert "1970" not in near
    assert "1970-01-0" in far


def test_history_in_a_pipe(capsys):
    """A pipe gets every line whole, in columns."""
    output.print_history([event(1, "WorkflowStarted", workflow_type="t", input="x" * 500), event(10, "TimerFired")])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(" 1  ")
    assert second.startswith("10  ")
    assert first.index("WorkflowStarted") == second.index("TimerFired")
    assert "x" * 500 in first


def test_history_on_a_terminal(capsys, monkeypatch):
    """A terminal's width cuts lines, with a sign that they go on."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(output.shutil, "get_terminal_size", lambda _: os.terminal_size((80, 24)))
    output.print_history([event(1, "WorkflowStarted", workflow_type="t", input="x" * 500)])
    (line,) = capsys.readouterr().out.splitlines()
    assert (len(line), line[-1]) == (80, "…")


def test_tables_in_a_pipe(capsys):
    """A pipe gets whole words in columns, with nothing interpreted as markup."""
    output.print_table(("ID", "X"), [("a" * 300, "[bold]"), ("b", None)])
    heads, first, second = capsys.readouterr().out.splitlines()
    assert heads.split() == ["ID", "X"]
    assert first == f"{'a' * 300}  [bold]"
    assert second == "b"


def test_json_in_a_pipe(capsys):
    """JSON for a program is one line that reads back."""
    output.print_json([{"a": "ü"}])
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert msgspec.json.decode(told) == [{"a": "ü"}]
