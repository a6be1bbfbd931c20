"""Text of one run, as printed by `show`: its state, then what it waits for, grouped and sorted by due time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

from penstock.cli.escape import escaped
from penstock.cli.output import compact, failure_line, moment, one_line, when
from penstock.engine.core.statuses import BLOCKED, PAUSED, WAITING

Json = Mapping[str, Any]

LINES_MAX = 20
# (least duration, unit, name): a unit is used from two of it (seconds from one), which bounds the rounding error.
_SPANS = (
    (2 * 86_400_000, 86_400_000, "d"),
    (2 * 3_600_000, 3_600_000, "h"),
    (2 * 60_000, 60_000, "min"),
    (1_000, 1_000, "s"),
)
_CHILD_STATES = {"started": ", started", "stopping": ", asked to stop"}
_AT_CLOSE = {"cancel": "cancelled", "terminate": "terminated", "abandon": "left alone"}


def print_run(run: Json, now_ms: int) -> None:
    """Print one run; `now_ms` is the reader's time."""
    click.echo(escaped(f"{run['workflow_id']}  {run['type']} version {run['version']}  {str(run['status']).upper()}"))
    for name, text in _state(run, now_ms):
        click.echo(f"  {name:<7}  {escaped(text)}")
    for line in _traceback(run):
        click.echo(f"           {escaped(line)}".rstrip())
    name, waits = ("waits", _waits(run, now_ms)) if run["status"] == "running" else ("pending", _pending(run, now_ms))
    for wait in waits[:LINES_MAX]:
        click.echo(f"  {name:<7}  {escaped(wait)}")
        name = ""
    if len(waits) > LINES_MAX:
        click.echo(f"           and {len(waits) - LINES_MAX} more; `--output json` shows all")


def span(milliseconds: int) -> str:
    """Format a duration in its largest suitable unit: `80 ms`, `58 s`, `2 h`, `3 d`."""
    milliseconds = abs(milliseconds)
    for least_ms, unit_ms, name in _SPANS:
        if milliseconds >= least_ms:
            return f"{round(milliseconds / unit_ms)} {name}"
    return f"{milliseconds} ms"


def _state(run: Json, now_ms: int) -> Iterator[tuple[str, str]]:
    yield "run", run["run_id"]
    if run.get("parent_workflow_id"):
        yield "parent", run["parent_workflow_id"]
    if length := run.get("chain_length"):
        if run.get("reset_from"):
            yield "reset", f"from event {run['reset_to']} of the run {run['reset_from']}"
        tries = f", after {run['retries']} that failed with the same input" if run.get("retries") else ""
        yield "chain", f"run {length + 1} of the chain that began with {run['first_run_id']}{tries}"
    closed_ms = run.get("closed_ms")
    yield "started", moment(run["started_ms"]) + ("" if closed_ms else f" ({span(now_ms - run['started_ms'])} ago)")
    if closed_ms:
        yield "closed", f"{moment(closed_ms)} (after {span(closed_ms - run['started_ms'])})"
    elif run.get("cancel_requested"):
        halted = run["status"] in {BLOCKED, WAITING, PAUSED}
        yield "cancel", f"requested; its code {'receives it when it continues' if halted else 'may be cleaning up'}"
    if not closed_ms and run.get("begins_ms"):
        yield "begins", _at(run["begins_ms"], now_ms)
    if not closed_ms and run.get("deadline_ms"):
        yield "ends", f"{_at(run['deadline_ms'], now_ms)} at the latest"
    if not closed_ms and run.get("is_long"):
        yield "long", f"{run['events']:,} events in its history: it should continue as new"
    yield from _descriptions(run)
    if unread := run.get("signals_unread"):
        names = (f"{name} ({count} of them)" if count > 1 else name for name, count in unread.items())
        yield "unread", f"signal {', '.join(names)}, for which its code has not waited"
    if run["status"] == "completed":
        yield "result", compact(run.get("result"))
    if run.get("reason"):
        yield "reason", one_line(run["reason"])
    if run.get("failure"):
        yield "failure", failure_line(run["failure"])
    if run["status"] == PAUSED:
        yield from _paused(run, now_ms)
    elif run["status"] == WAITING:
        yield "waits", one_line(run.get("blocked_message") or "")
    elif run.get("blocked_reason"):
        yield "blocked", f"{run['blocked_reason']}: {one_line(_message_and_traceback(run)[0])}"
        yield "remedy", f"penstock unblock {run['workflow_id']}  (processors also try it when they start)"
    for note in run.get("unhosted") or ():
        yield "missing", note


def _paused(run: Json, now_ms: int) -> Iterator[tuple[str, str]]:
    by = f" by {run['paused_by']}" if run.get("paused_by") else ""
    reason = f": {one_line(run['pause_reason'])}" if run.get("pause_reason") else ""
    yield "paused", f"{_at(run['paused_ms'], now_ms).replace(' overdue', ' ago')}{by}{reason}"
    if run.get("blocked_reason"):
        yield "before", f"BLOCKED ({run['blocked_reason']}): {one_line(_message_and_traceback(run)[0])}"
    yield "remedy", f"penstock resume {run['workflow_id']}"


def _descriptions(run: Json) -> Iterator[tuple[str, str]]:
    """What its start and its code say of the run, and what it answers to."""
    if run.get("details") is not None:
        yield "details", compact(run["details"])
    if search := run.get("search"):
        yield "search", ", ".join(f"{name}={compact(value)}" for name, value in search.items())
    if memo := run.get("memo"):
        yield "memo", compact(memo)
    for update in run.get("open_updates") or ():
        waits = "waits for its handler" if update["state"] == "held" else "runs"
        yield "update", f"{update['update']} ({update['update_id']}) {waits}"
    handlers = run.get("handlers") or {}
    kinds = ("queries",) if run.get("closed_ms") else ("queries", "updates", "signals")
    names = (f"{kind} {', '.join(handlers[kind])}" for kind in kinds if handlers.get(kind))
    if answers := "; ".join(names):
        yield "answers", answers


def _traceback(run: Json) -> list[str]:
    """Return the traceback of the workflow code, or of the activity, that failed the run; or of the bug in its code."""
    return str((run.get("failure") or {}).get("traceback") or "").splitlines() or _message_and_traceback(run)[1]


def _message_and_traceback(run: Json) -> tuple[str, list[str]]:
    """Split the message of a BLOCKED run: a bug's has the traceback in the lines that follow."""
    message = str(run.get("blocked_message") or "")
    if run.get("blocked_reason") != "code_error":
        return message, []
    first, *others = message.splitlines() or [""]
    return first, others


def _waits(run: Json, now_ms: int) -> list[str]:
    waits = [f"for {wait}" for wait in (*_pending(run, now_ms), *_awaited(run))]
    if run.get("begins_ms"):
        waits.insert(0, "for the end of the delay of its start")
    return waits or ["for nothing: no activity, timer, child, signal or condition is pending; its code may be running"]


def _awaited(run: Json) -> Iterator[str]:
    """Yield `signal approval`, `2 conditions`."""
    for name in run.get("signals_awaited") or ():
        yield f"signal {name}"
    if count := run.get("conditions_awaited"):
        yield "a condition" if count == 1 else f"{count} conditions"


def _pending(run: Json, now_ms: int) -> list[str]:
    activities = sorted(run.get("pending_activities") or (), key=_retry_ms)
    timers = sorted(run.get("pending_timers") or (), key=lambda timer: int(timer["due_ms"]))
    children = run.get("pending_children") or ()
    return [
        *_grouped(activities, _activity_key, lambda group: _activities(group, now_ms)),
        *_grouped(timers, lambda timer: moment(timer["due_ms"]), lambda group: _timers(group, now_ms)),
        *map(_child, children),
    ]


def _child(child: Json) -> str:
    """Format as `child ship-7 of type ship, started; left alone when its parent closes`."""
    state = _CHILD_STATES.get(child.get("state", ""), "")
    text = f"child {child['workflow_id']} of type {child['workflow_type']}{state}"
    at_close = _AT_CLOSE.get(child.get("parent_close", ""), "")
    return f"{text}; {at_close} when its parent closes" if at_close else text


def _grouped(
    items: Sequence[Json], key: Callable[[Json], object], text: Callable[[Sequence[Json]], str]
) -> Iterator[str]:
    groups: dict[object, list[Json]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return map(text, groups.values())


def _retry_ms(activity: Json) -> int:
    return int(activity.get("retry_ms") or 0)


def _activity_key(activity: Json) -> object:
    failure = failure_line(activity.get("failure"))
    retry_s = _retry_ms(activity) // 1_000
    stopping = activity.get("stopping", False)
    named = (activity["activity"], activity["attempt"], activity["queue"], activity.get("retries_max"))
    alone = activity["sequence"] if activity.get("begun_ms") else 0  # what it reports is its own
    return (*named, alone, retry_s, failure, stopping)


def _activities(group: Sequence[Json], now_ms: int) -> str:
    """Format as `activity charge, attempt 3 of 11 on payments, due at 10:15:02 (in 58 s); attempt 2 failed: …`."""
    first = group[0]
    attempt, retry_ms = first["attempt"], _retry_ms(first)
    failed = (
        attempt if retry_ms else attempt - 1
    )  # until the next attempt begins, the row has the number of the failed one
    many = f" ({len(group)} of them)" if len(group) > 1 else ""
    text = f"activity {first['activity']}{many}, attempt {failed + 1}{_of_attempts(first)} on {first['queue']}"
    if retry_ms:
        text += f", due {_at(retry_ms, now_ms)}"
    else:
        scheduled_ms = min(activity["scheduled_ms"] for activity in group)
        text += f", {'first ' if many else ''}scheduled {span(now_ms - scheduled_ms)} ago"
        text += "" if many else _reported(first, now_ms)
    if first.get("stopping"):
        text += ", given up and not tried again, until this attempt has ended"
    return f"{text}; attempt {failed} failed: {failure_line(first['failure'])}" if first.get("failure") else text


def _reported(activity: Json, now_ms: int) -> str:
    """Format what the running attempt reported: `, begun 3 s ago by worker-1, last heartbeat 1 s ago: {"page":3}`."""
    text = ""
    if begun_ms := activity.get("begun_ms"):
        text += f", begun {span(now_ms - begun_ms)} ago by {one_line(activity.get('worker') or 'a worker')}"
    if beat_ms := activity.get("heartbeat_ms"):
        text += f", last heartbeat {span(now_ms - beat_ms)} ago"
    if activity.get("heartbeat") is not None:
        text += f": {compact(activity['heartbeat'])}"
    return text


def _of_attempts(activity: Json) -> str:
    retries_max = activity.get("retries_max", -1)
    return f" of {retries_max + 1}" if retries_max >= 0 else ""


def _timers(group: Sequence[Json], now_ms: int) -> str:
    timers = f"{len(group)} timers" if len(group) > 1 else "a timer"
    return f"{timers} due {_at(group[0]['due_ms'], now_ms)}"


def _at(epoch_ms: int, now_ms: int) -> str:
    left_ms = epoch_ms - now_ms
    return f"at {when(epoch_ms, now_ms)} ({f'in {span(left_ms)}' if left_ms >= 0 else f'{span(left_ms)} overdue'})"
