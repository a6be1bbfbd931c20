"""What is told of one run? Its state, then what it waits for: alike things on one line, the nearest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

from penstock.cli.output import compact, failure_words, moment, one_line, when
from penstock.cli.visible import visible

Json = Mapping[str, Any]

LINES_MAX = 20
# A unit is used from two of it on (a second from one), so that what is rounded away is never much.
_SPANS = (
    (2 * 86_400_000, 86_400_000, "d"),
    (2 * 3_600_000, 3_600_000, "h"),
    (2 * 60_000, 60_000, "min"),
    (1_000, 1_000, "s"),
)


def print_run(run: Json, now_ms: int) -> None:
    """One run in words, `now_ms` being the time of whoever reads them."""
    click.echo(visible(f"{run['workflow_id']}  {run['type']} version {run['version']}  {str(run['status']).upper()}"))
    for name, text in _state(run, now_ms):
        click.echo(f"  {name:<7}  {visible(text)}")
    for line in _traceback(run):
        click.echo(f"           {visible(line)}".rstrip())
    name, waits = ("waits", _waits(run, now_ms)) if run["status"] == "running" else ("pending", _pending(run, now_ms))
    for wait in waits[:LINES_MAX]:
        click.echo(f"  {name:<7}  {visible(wait)}")
        name = ""
    if len(waits) > LINES_MAX:
        click.echo(f"           and {len(waits) - LINES_MAX} more; `--output json` tells all")


def span(milliseconds: int) -> str:
    """`80 ms`, `58 s`, `2 h`, `3 d`: how long, as roughly as a reader wants it."""
    milliseconds = abs(milliseconds)
    for least_ms, unit_ms, name in _SPANS:
        if milliseconds >= least_ms:
            return f"{round(milliseconds / unit_ms)} {name}"
    return f"{milliseconds} ms"


def _state(run: Json, now_ms: int) -> Iterator[tuple[str, str]]:
    yield "run", run["run_id"]
    if run.get("parent_workflow_id"):
        yield "parent", run["parent_workflow_id"]
    closed_ms = run.get("closed_ms")
    yield "started", moment(run["started_ms"]) + ("" if closed_ms else f" ({span(now_ms - run['started_ms'])} ago)")
    if closed_ms:
        yield "closed", f"{moment(closed_ms)} (after {span(closed_ms - run['started_ms'])})"
    elif run.get("cancel_requested"):
        blocked = run["status"] == "blocked"
        yield "cancel", f"requested; its code {'hears of it when it goes on' if blocked else 'may be cleaning up'}"
    if unread := run.get("signals_unread"):
        told = (f"{name} ({count} of them)" if count > 1 else name for name, count in unread.items())
        yield "unread", f"signal {', '.join(told)}, for which its code has not waited"
    if run["status"] == "completed":
        yield "result", compact(run.get("result"))
    if run.get("reason"):
        yield "reason", one_line(run["reason"])
    if run.get("failure"):
        yield "failure", failure_words(run["failure"])
    if run.get("blocked_reason"):
        yield "blocked", f"{run['blocked_reason']}: {one_line(run.get('blocked_message') or '')}"
        yield "mended?", f"penstock retry {run['workflow_id']}  (processors also try it when they start)"


def _traceback(run: Json) -> list[str]:
    """Where workflow code, or the activity that failed it, raised what failed the run."""
    return str((run.get("failure") or {}).get("traceback") or "").splitlines()


def _waits(run: Json, now_ms: int) -> list[str]:
    waits = [f"for {wait}" for wait in (*_pending(run, now_ms), *_listening(run))]
    return waits or ["for something in its own code: no activity, timer, child, signal or condition"]


def _listening(run: Json) -> Iterator[str]:
    """`signal approval`, `2 conditions`."""
    for name in run.get("signals_awaited") or ():
        yield f"signal {name}"
    if count := run.get("conditions_awaited"):
        yield "a condition" if count == 1 else f"{count} conditions"


def _pending(run: Json, now_ms: int) -> list[str]:
    activities = sorted(run.get("pending_activities") or (), key=_retry_ms)
    timers = sorted(run.get("pending_timers") or (), key=lambda timer: int(timer["due_ms"]))
    children = run.get("pending_children") or ()
    return [
        *_grouped(activities, _activity_kind, lambda alike: _activities(alike, now_ms)),
        *_grouped(timers, lambda timer: moment(timer["due_ms"]), lambda alike: _timers(alike, now_ms)),
        *(f"child {child['workflow_id']} of type {child['workflow_type']}" for child in children),
    ]


def _grouped(
    found: Sequence[Json], kind: Callable[[Json], object], words: Callable[[Sequence[Json]], str]
) -> Iterator[str]:
    groups: dict[object, list[Json]] = {}
    for one in found:
        groups.setdefault(kind(one), []).append(one)
    return map(words, groups.values())


def _retry_ms(activity: Json) -> int:
    return int(activity.get("retry_ms") or 0)


def _activity_kind(activity: Json) -> object:
    failure = failure_words(activity.get("failure"))
    retry_s = _retry_ms(activity) // 1_000
    return activity["activity"], activity["attempt"], activity["queue"], activity.get("retries_max"), retry_s, failure


def _activities(alike: Sequence[Json], now_ms: int) -> str:
    """`activity charge, attempt 3 of 11 on payments, due at 10:15:02 (in 58 s); attempt 2 failed: CardDeclined: …`."""
    first = alike[0]
    attempt, retry_ms = first["attempt"], _retry_ms(first)
    failed = attempt if retry_ms else attempt - 1  # until the next one begins, the row counts the one that failed
    many = f" ({len(alike)} of them)" if len(alike) > 1 else ""
    words = f"activity {first['activity']}{many}, attempt {failed + 1}{_of(first)} on {first['queue']}"
    if retry_ms:
        words += f", due {_at(retry_ms, now_ms)}"
    else:
        words += f", {'first ' if many else ''}scheduled {span(now_ms - min(one['scheduled_ms'] for one in alike))} ago"
    return f"{words}; attempt {failed} failed: {failure_words(first['failure'])}" if first.get("failure") else words


def _of(activity: Json) -> str:
    retries_max = activity.get("retries_max", -1)
    return f" of {retries_max + 1}" if retries_max >= 0 else ""


def _timers(alike: Sequence[Json], now_ms: int) -> str:
    many = f"{len(alike)} timers" if len(alike) > 1 else "a timer"
    return f"{many} due {_at(alike[0]['due_ms'], now_ms)}"


def _at(epoch_ms: int, now_ms: int) -> str:
    left_ms = epoch_ms - now_ms
    return f"at {when(epoch_ms, now_ms)} ({f'in {span(left_ms)}' if left_ms >= 0 else f'{span(left_ms)} overdue'})"
