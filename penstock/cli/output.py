"""Output of commands: tables, numbered events, failures, times, JSON, and a progress bar."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from penstock.cli.escape import escaped

Json = Mapping[str, Any]

WIDTH_DEFAULT = 120
WIDTH_MIN = 60
WIDTH_MAX = 10_000
NEAR_MS = 12 * 3_600_000

# The fields of each event that the text output shows, in this order; --output json has all fields.
SHOWN_FIELDS: Mapping[str, Sequence[str]] = {
    "WorkflowStarted": ("workflow_type", "input", "parent_workflow_id"),
    "WorkflowCompleted": ("result",),
    "WorkflowFailed": ("failure",),
    "WorkflowTimedOut": ("failure",),
    "HistoryExceeded": ("failure",),
    "WorkflowCancelled": ("reason",),
    "WorkflowTerminated": ("reason",),
    "WorkflowBlocked": ("reason", "message"),
    "WorkflowUnblocked": ("by", "reason"),
    "WorkflowPaused": ("by", "reason"),
    "WorkflowResumed": ("by", "reason"),
    "WorkflowReset": ("to_event", "next_run_id", "by", "reason"),
    "WorkflowForked": ("to_event", "base_run_id", "by", "reason"),
    "ParentChanged": ("parent_run_id",),
    "CancelRequested": ("reason",),
    "WorkflowContinued": ("workflow_type", "input"),
    "StartDelayEnded": (),
    "UpdateAccepted": ("update", "input", "message_id"),
    "UpdateHeld": ("update", "input", "message_id"),
    "UpdateTaken": ("message_id", "problem"),
    "UpdateCompleted": ("result", "message_id"),
    "UpdateFailed": ("failure", "message_id"),
    "UpdateAwaited": ("message_id",),
    "ActivityScheduled": ("activity", "input", "queue"),
    "ActivityAttemptFailed": ("attempt", "failure", "retry_ms"),
    "ActivityRetried": ("attempt",),
    "ActivityCompleted": ("result", "attempt"),
    "ActivityFailed": ("failure",),
    "ActivitySkipped": ("result", "by", "reason"),
    "ActivityAdopted": ("attempt", "failure", "retry_ms"),
    "ActivityCancelled": (),
    "ActivityStarted": ("attempt", "worker"),
    "ActivityHeartbeat": ("attempt", "details"),
    "ActivityStopRequested": (),
    "TimerStarted": ("due_ms",),
    "TimerFired": (),
    "TimerCancelled": (),
    "ActivationSuspended": (),
    "ActivationResumed": (),
    "SignalReceived": ("signal", "input"),
    "ChildScheduled": ("workflow_type", "workflow_id", "input"),
    "ChildStarted": ("child_run_id",),
    "ChildCompleted": ("result",),
    "ChildFailed": ("status", "failure"),
    "ChildAdopted": (),
    "ChildCancelRequested": ("workflow_id",),
    "ChildStopRequested": ("workflow_id",),
    "CommandKept": ("signal", "input", "reason"),
    "CommandTaken": ("message_id",),
    "CommandGivenUp": (),
    "SideEffectRecorded": ("value",),
    "PatchMarked": ("patch",),
    "DetailsSet": ("value",),
    "SearchSet": ("attributes",),
    "ExternalSignalSent": ("workflow_id", "signal", "input"),
    "ActivityChanged": ("queue", "retry_ms", "by", "reason"),
    "RecordPublished": ("topic", "key", "value"),
    "ExternalCancelRequested": ("workflow_id", "reason"),
    "ScheduleCreated": ("workflow_type", "input"),
    "ScheduleUpdated": ("workflow_type", "input"),
    "WorkflowDeleted": ("by", "reason"),
    "WorkflowImported": ("run_id", "by", "reason"),
    "SchedulePaused": ("note",),
    "ScheduleResumed": ("note",),
    "ScheduleTriggered": ("overlap",),
    "ScheduleBackfilled": ("overlap",),
    "ScheduleAdvanced": ("skipped", "missed"),
    "ScheduledRunStarted": ("run_workflow_id",),
    "ScheduledRunWaits": ("run_workflow_id",),
    "ScheduledRunDropped": ("run_id",),
    "ScheduledRunStopped": ("run_id", "how"),
    "ScheduledRunClosed": ("run_id", "status", "message"),
    "ScheduleDeleted": (),
    "VersionShareSet": ("workflow_type", "version", "share", "by", "reason"),
    "VersionShareUnset": ("workflow_type", "version", "by", "reason"),
}
_PAYLOADS = {"input", "result", "value", "attributes"}
_MESSAGES = {"reason", "message", "note"}


def print_json(value: object) -> None:
    """Print a value as JSON: indented on a terminal, on one line in a pipe."""
    data = msgspec.json.encode(value)
    click.echo(msgspec.json.format(data, indent=2) if sys.stdout.isatty() else data)


def print_runs(runs: Sequence[Json]) -> None:
    """Print a table of runs, as `describe` returns them."""
    if not runs:
        click.echo("no runs", err=True)
        return
    rows = [
        (run["workflow_id"], run["type"], run["status"], moment(run["started_ms"]), moment(run["closed_ms"]))
        for run in runs
    ]
    print_table(("ID", "TYPE", "STATUS", "STARTED", "CLOSED"), rows)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns with headers; a terminal's width truncates cells, a pipe gets them whole."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        table.add_column(header, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(_cell_text(cell) for cell in row))
    if sys.stdout.isatty():
        Console(highlight=False, markup=False).print(table)
        return
    wide = Console(width=WIDTH_MAX, highlight=False, markup=False)
    with wide.capture() as captured:
        wide.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_history(events: Sequence[Json]) -> None:
    """Print numbered events, one per line, truncated to the width of a terminal (a pipe gets them whole)."""
    width = _width()
    names = max((len(event["event"]) for event in events), default=0)
    digits = len(str(events[-1]["number"])) if events else 1
    for event in events:
        line = f"{event['number']:>{digits}}  {clock(event['at_ms'])}  {event['event']:<{names}}  {event_text(event)}"
        click.echo(_truncated(line.rstrip(), width))


def event_text(event: Json) -> str:
    """Format the fields of an event on one line: `#2 charge {"id": …}`."""
    words = [f"#{event['sequence']}"] if event.get("sequence") else []
    for field in SHOWN_FIELDS.get(event["event"], tuple(set(event) - {"number", "event", "at_ms", "sequence"})):
        value = event.get(field)
        if field == "retry_ms":
            words[-1:] = [f"{words[-1]};" if words else "", f"again at {_due(value or 0, event['at_ms'])}"]
        elif text := _field_text(event, field, value):
            words.append(text)
    return " ".join(words)


def _field_text(event: Json, field: str, value: Any) -> str:
    """Format one field; empty if the line omits it."""
    if field in _PAYLOADS:
        return compact(value)
    if field == "failure":
        return failure_line(value)
    if field == "due_ms":
        return f"due at {_due(value or 0, event['at_ms'])}"
    if field == "attempt":
        return "" if event["event"] == "ActivityCompleted" and value in (None, 1) else f"attempt {value}"
    if field == "queue":
        return f"on {escaped(value)}" if value and value != "default" else ""
    if value in (None, ""):
        return ""
    return one_line(str(value)) if field in _MESSAGES else escaped(str(value))


def failure_line(failure: Any) -> str:
    """Format a JSON failure on one line: `CardDeclined: no funds, caused by …`."""
    if not isinstance(failure, Mapping):
        return one_line(str(failure or ""))
    from penstock.client.outcome import failure_text
    from penstock.schemas.failure import Failure

    return one_line(failure_text(msgspec.convert(failure, Failure)))


def compact(value: object) -> str:
    """Format a payload as JSON on one line."""
    return msgspec.json.encode(value).decode()


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on stderr if that is a terminal; yields the function that advances it by one."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def _width() -> int | None:
    return max(WIDTH_MIN, shutil.get_terminal_size((WIDTH_DEFAULT, 24)).columns) if sys.stdout.isatty() else None


def _truncated(line: str, width: int | None) -> str:
    return line if width is None or len(line) <= width else f"{line[: width - 1]}…"


def moment(epoch_ms: int | None) -> str:
    """Format date and time to the second, in the machine's time zone; empty for None."""
    if not epoch_ms:
        return ""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).astimezone().isoformat(" ", "seconds")


def when(epoch_ms: int, now_ms: int) -> str:
    """Format a time to the second, with its date unless it is within NEAR_MS of now."""
    return clock(epoch_ms)[:8] if abs(epoch_ms - now_ms) < NEAR_MS else moment(epoch_ms)


def clock(epoch_ms: int) -> str:
    """Format the time of day to the millisecond, in the machine's time zone."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _due(epoch_ms: int, at_ms: int) -> str:
    """Format a due time to the millisecond, with its date unless it is within NEAR_MS of `at_ms`."""
    return clock(epoch_ms) if epoch_ms - at_ms < NEAR_MS else moment(epoch_ms)


def one_line(text: str) -> str:
    """Join lines and escape control characters."""
    return escaped(" ".join(text.split()))


def _cell_text(cell: object) -> str:
    return "" if cell is None else escaped(str(cell))
