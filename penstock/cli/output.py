"""How do answers look on a terminal? Tables, numbered events, failures and moments; JSON for programs; a bar."""

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

from penstock.cli.visible import visible

Json = Mapping[str, Any]

WIDTH_DEFAULT = 120
WIDTH_LEAST = 60
WIDTH_MOST = 10_000
NEAR_MS = 12 * 3_600_000

# What a person wants to see of each event, in this order; what is not named here stands in --output json.
ESSENTIAL: Mapping[str, Sequence[str]] = {
    "WorkflowStarted": ("workflow_type", "input", "parent_workflow_id"),
    "WorkflowCompleted": ("result",),
    "WorkflowFailed": ("failure",),
    "WorkflowCancelled": ("reason",),
    "WorkflowTerminated": ("reason",),
    "WorkflowBlocked": ("reason", "message"),
    "WorkflowUnblocked": ("by",),
    "CancelRequested": ("reason",),
    "ActivityScheduled": ("activity", "input", "queue"),
    "ActivityAttemptFailed": ("attempt", "failure", "retry_ms"),
    "ActivityRetried": ("attempt",),
    "ActivityCompleted": ("result", "attempt"),
    "ActivityFailed": ("failure",),
    "ActivityCancelled": (),
    "TimerStarted": ("due_ms",),
    "TimerFired": (),
    "TimerCancelled": (),
    "SignalReceived": ("signal", "input"),
    "ChildScheduled": ("workflow_type", "workflow_id", "input"),
    "ChildCompleted": ("result",),
    "ChildFailed": ("status", "failure"),
    "ChildCancelRequested": ("workflow_id",),
    "SideEffectRecorded": ("value",),
    "PatchMarked": ("patch",),
    "ExternalSignalSent": ("workflow_id", "signal", "input"),
    "ExternalCancelRequested": ("workflow_id", "reason"),
}
_PAYLOADS = {"input", "result", "value"}
_SENTENCES = {"reason", "message"}


def print_json(value: object) -> None:
    """Print a value as JSON: indented for a terminal, on one line for a pipe."""
    data = msgspec.json.encode(value)
    click.echo(msgspec.json.format(data, indent=2) if sys.stdout.isatty() else data)


def print_runs(runs: Sequence[Json]) -> None:
    """A table of runs, as `describe` has them."""
    if not runs:
        click.echo("no runs", err=True)
        return
    rows = [
        (run["workflow_id"], run["type"], run["status"], moment(run["started_ms"]), moment(run["closed_ms"]))
        for run in runs
    ]
    print_table(("ID", "TYPE", "STATUS", "STARTED", "CLOSED"), rows)


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns with heads; whole words for a pipe, cut to the width of a terminal."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in heads:
        table.add_column(head, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    if sys.stdout.isatty():
        Console(highlight=False, markup=False).print(table)
        return
    wide = Console(width=WIDTH_MOST, highlight=False, markup=False)
    with wide.capture() as captured:
        wide.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_history(events: Sequence[Json]) -> None:
    """Numbered events, one a line, cut to the width of the terminal (a pipe gets them whole)."""
    width = _width()
    names = max((len(event["event"]) for event in events), default=0)
    digits = len(str(events[-1]["number"])) if events else 1
    for event in events:
        line = f"{event['number']:>{digits}}  {clock(event['at_ms'])}  {event['event']:<{names}}  {event_words(event)}"
        click.echo(_cut(line.rstrip(), width))


def event_words(event: Json) -> str:
    """The essential of an event on one line: `#2 charge {"id": …}`."""
    words = [f"#{event['sequence']}"] if event.get("sequence") else []
    for field in ESSENTIAL.get(event["event"], tuple(set(event) - {"number", "event", "at_ms", "sequence"})):
        value = event.get(field)
        if field in _PAYLOADS:
            words.append(compact(value))
        elif field == "failure":
            words.append(failure_words(value))
        elif field == "retry_ms":
            words[-1:] = [f"{words[-1]};" if words else "", f"again at {_due(value or 0, event['at_ms'])}"]
        elif field == "due_ms":
            words.append(f"due at {_due(value or 0, event['at_ms'])}")
        elif field == "attempt":
            words += [f"attempt {value}"] if event["event"] != "ActivityCompleted" or value not in (None, 1) else []
        elif field == "queue":
            words += [f"on {visible(value)}"] if value and value != "default" else []
        elif value not in (None, ""):
            words.append(one_line(str(value)) if field in _SENTENCES else visible(str(value)))
    return " ".join(words)


def failure_words(failure: Any) -> str:
    """`CardDeclined: no funds, caused by …`, from a failure as JSON has it."""
    if not isinstance(failure, Mapping):
        return one_line(str(failure or ""))
    from penstock.client.outcome import failure_text
    from penstock.schemas.values.failure import Failure

    return one_line(failure_text(msgspec.convert(failure, Failure)))


def compact(value: object) -> str:
    """A payload on one line."""
    return msgspec.json.encode(value).decode()


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr; the function given counts one done. Shows nothing where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def _width() -> int | None:
    return max(WIDTH_LEAST, shutil.get_terminal_size((WIDTH_DEFAULT, 24)).columns) if sys.stdout.isatty() else None


def _cut(line: str, width: int | None) -> str:
    return line if width is None or len(line) <= width else f"{line[: width - 1]}…"


def moment(epoch_ms: int | None) -> str:
    """Date and time to the second, in the time of this machine; empty for none."""
    if not epoch_ms:
        return ""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).astimezone().isoformat(" ", "seconds")


def when(epoch_ms: int, now_ms: int) -> str:
    """A moment to the second: with its date unless it is near."""
    return clock(epoch_ms)[:8] if abs(epoch_ms - now_ms) < NEAR_MS else moment(epoch_ms)


def clock(epoch_ms: int) -> str:
    """Hours to milliseconds, in the time of this machine."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _due(epoch_ms: int, at_ms: int) -> str:
    """A moment to come: with its date unless it is near."""
    return clock(epoch_ms) if epoch_ms - at_ms < NEAR_MS else moment(epoch_ms)


def one_line(text: str) -> str:
    """Without line breaks, and with nothing that steers a terminal."""
    return visible(" ".join(text.split()))


def _plain(cell: object) -> str:
    return "" if cell is None else visible(str(cell))
