"""Tests of tables, histories and JSON, on a terminal and in a pipe."""

import os
import sys

import msgspec
import pytest

from penstock.cli import output
from penstock.schemas.encoding.record_types import EVENTS

HOUR_MS = 3_600_000


def event(number, name, **fields):
    return {"number": number, "event": name, "at_ms": number * 1_000, **fields}


FAILURE = {"type": "bank.CardDeclined", "message": "no\nfunds", "kind": "error", "traceback": "T", "causes": []}


@pytest.mark.parametrize(
    ("shown", "text"),
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
def test_text_of_an_event(shown, text):
    """The text of an event is its shown fields on one line."""
    assert output.event_text(shown) == text


def test_every_event_has_shown_fields():
    """SHOWN_FIELDS has every event of the schemas, with fields that the event has."""
    not_in_histories = {"InputIgnored", "ResultAwaited", "StartJoined"}  # unnumbered
    records = {name: record for name, record in EVENTS.items() if name not in not_in_histories}
    assert set(output.SHOWN_FIELDS) == set(records)
    for name, shown in output.SHOWN_FIELDS.items():
        assert set(shown) <= set(records[name].__struct_fields__), name


def test_due_times():
    """A distant due time has its date, a near one only the time."""
    near = output.event_text(event(1, "TimerStarted", sequence=1, due_ms=HOUR_MS))
    far = output.event_text(event(1, "TimerStarted", sequence=1, due_ms=48 * HOUR_MS))
    assert "1970" not in near
    assert "1970-01-0" in far


def test_history_in_a_pipe(capsys):
    """In a pipe every line is whole, in columns."""
    output.print_history([event(1, "WorkflowStarted", workflow_type="t", input="x" * 500), event(10, "TimerFired")])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(" 1  ")
    assert second.startswith("10  ")
    assert first.index("WorkflowStarted") == second.index("TimerFired")
    assert "x" * 500 in first


def test_history_on_a_terminal(capsys, monkeypatch):
    """On a terminal lines are truncated to its width and end in an ellipsis."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(output.shutil, "get_terminal_size", lambda _: os.terminal_size((80, 24)))
    output.print_history([event(1, "WorkflowStarted", workflow_type="t", input="x" * 500)])
    (line,) = capsys.readouterr().out.splitlines()
    assert (len(line), line[-1]) == (80, "…")


def test_tables_in_a_pipe(capsys):
    """In a pipe cells are whole, in columns, and not interpreted as markup."""
    output.print_table(("ID", "X"), [("a" * 300, "[bold]"), ("b", None)])
    headers, first, second = capsys.readouterr().out.splitlines()
    assert headers.split() == ["ID", "X"]
    assert first == f"{'a' * 300}  [bold]"
    assert second == "b"


def test_json_in_a_pipe(capsys):
    """In a pipe JSON is one line that decodes to the value."""
    output.print_json([{"a": "ü"}])
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert msgspec.json.decode(printed) == [{"a": "ü"}]
