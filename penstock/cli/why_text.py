"""Why a run does not go on, in words: what it waits for, since when, and what ends the wait."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from penstock.cli.output import failure_line, moment, one_line
from penstock.cli.run_text import span
from penstock.engine.core.statuses import BLOCKED, CLOSED, PAUSED, WAITING

Json = Mapping[str, Any]


class Reason(NamedTuple):
    """One thing that a run waits for. `since_ms`, `until_ms`: epoch, None if unknown, or if nothing ends the wait."""

    kind: str
    text: str
    since_ms: int | None = None
    until_ms: int | None = None


def headline(run: Json, now_ms: int) -> str:
    """What the run does, in a few words: `order-1 (fulfil) is running since 3 h`."""
    if run["status"] in CLOSED:
        ended = _ENDED.get(run["status"], f"was {run['status']}")
        return f"{run['workflow_id']} ({run['type']}) {ended} {span(now_ms - run['closed_ms'])} ago"
    shown = str(run["status"]).upper() if run["status"] == BLOCKED else run["status"]
    return f"{run['workflow_id']} ({run['type']}) is {shown}; it was started {span(now_ms - run['started_ms'])} ago"


def reasons(run: Json, history: Sequence[Json], queues: Collection[str] | None, now_ms: int) -> list[Reason]:
    """Why the run does not go on, the most urgent first. `queues`: those that live workers serve, None if unknown."""
    if run["status"] in CLOSED:
        return []
    found = [*_halts(run, history, now_ms), *_missing(run)]
    began = {event["sequence"]: int(event["at_ms"]) for event in history if event["event"] in _BEGINNINGS}
    activities = [_activity(one, queues, now_ms) for one in run.get("pending_activities") or ()]
    found += sorted(activities, key=lambda one: one.until_ms or 0)
    found += [_child(one, began, now_ms) for one in run.get("pending_children") or ()]
    found += _waits_of_code(run, began, _last_ms(run, history), now_ms)
    found += _ends(run, now_ms)
    return found or [Reason("code", "waits for nothing that is recorded; its code may be running at this moment")]


_ENDED = {"completed": "completed", "failed": "failed", "continued": "went on as a new run"}
_BEGINNINGS = frozenset({"TimerStarted", "ChildScheduled"})


def _last_ms(run: Json, history: Sequence[Json]) -> int:
    """When its code ran last, at the latest."""
    return int(history[-1]["at_ms"]) if history else int(run["started_ms"])


def _halts(run: Json, history: Sequence[Json], now_ms: int) -> Iterator[Reason]:
    if run["status"] == PAUSED:
        by = f" by {run['paused_by']}" if run.get("paused_by") else ""
        reason = f" ({one_line(run['pause_reason'])})" if run.get("pause_reason") else ""
        text = f"is paused since {span(now_ms - run['paused_ms'])}{by}{reason}: `penstock resume` lets it go on"
        yield Reason("paused", text, run["paused_ms"])
    elif run["status"] == WAITING:
        yield Reason("unhosted", f"waits for a processor: {one_line(run.get('blocked_message') or '')}")
    if run["status"] in {BLOCKED, PAUSED} and run.get("blocked_reason"):
        blocks = [int(event["at_ms"]) for event in history if event["event"] == "WorkflowBlocked"]
        since = f" since {span(now_ms - blocks[-1])}" if blocks else ""
        message = str(run.get("blocked_message") or "").partition("\n")[0]
        text = f"is BLOCKED{since} by {run['blocked_reason']}: {one_line(message)}; mend that, then `penstock unblock`"
        yield Reason("blocked", text, blocks[-1] if blocks else None)


def _missing(run: Json) -> list[Reason]:
    return [Reason("missing", one_line(note)) for note in run.get("unhosted") or ()]


def _activity(one: Json, queues: Collection[str] | None, now_ms: int) -> Reason:
    """`waits for attempt 4 of charge in 12 s: attempt 3 failed: …`, or for the attempt that runs."""
    name, attempt, retry_ms = one["activity"], int(one["attempt"]), int(one.get("retry_ms") or 0)
    failure = failure_line(one["failure"]) if one.get("failure") else ""
    if retry_ms:
        when = f"in {span(retry_ms - now_ms)}" if retry_ms > now_ms else "which is due"
        text = f"waits for attempt {attempt + 1}{_of(one)} of {name} {when}: attempt {attempt} failed: {failure}"
        return Reason("retry", text, None, retry_ms)
    since_ms = int(one.get("begun_ms") or one["scheduled_ms"])
    text = f"waits for {name}, attempt {attempt}{_of(one)}, {_state(one)} since {span(now_ms - since_ms)}"
    until_ms = one.get("times_out_ms")
    text += f", times out in {span(until_ms - now_ms)}" if until_ms and until_ms > now_ms else ""
    if queues is not None and one["queue"] not in queues:
        text += f"; no worker listens on {one['queue']}"
    text += f"; attempt {attempt - 1} failed: {failure}" if failure else ""
    return Reason("activity", text, since_ms, until_ms)


def _of(one: Json) -> str:
    retries_max = one.get("retries_max", -1)
    return f" of {retries_max + 1}" if retries_max >= 0 else ""


def _state(one: Json) -> str:
    if one.get("outside"):
        return "completed from outside, open"
    if one.get("begun_ms"):
        return f"running on {one_line(one.get('worker') or 'a worker')}"
    return f"on queue {one['queue']}"


def _child(one: Json, began: Mapping[int, int], now_ms: int) -> Reason:
    since_ms = began.get(one["sequence"])
    since = f" since {span(now_ms - since_ms)}" if since_ms else ""
    return Reason("child", f"waits for the child {one['workflow_id']} ({one['workflow_type']}){since}", since_ms)


def _waits_of_code(run: Json, began: Mapping[int, int], last_ms: int, now_ms: int) -> Iterator[Reason]:
    """Signals, conditions and timers. A single wait with a single timer is one wait that gives up."""
    waits = [f"signal {name}" for name in run.get("signals_awaited") or ()]
    waits += ["a condition of its code"] * int(run.get("conditions_awaited") or 0)
    timers = sorted(run.get("pending_timers") or (), key=lambda timer: int(timer["due_ms"]))
    if len(waits) == len(timers) == 1:
        due_ms, since_ms = int(timers[0]["due_ms"]), began.get(timers[0]["sequence"], last_ms)
        text = f"waits for {waits[0]} since {span(now_ms - since_ms)}, gives up {_in(due_ms, now_ms)}"
        yield Reason("signal" if waits[0].startswith("signal") else "condition", text, since_ms, due_ms)
        return
    for wait in waits:
        kind = "signal" if wait.startswith("signal") else "condition"
        yield Reason(kind, f"waits for {wait} since {span(now_ms - last_ms)} at least", last_ms)
    for timer in timers:
        due_ms, timer_ms = int(timer["due_ms"]), began.get(timer["sequence"])
        since = f" since {span(now_ms - timer_ms)}" if timer_ms else ""
        yield Reason("timer", f"waits for a timer{since}, which ends {_in(due_ms, now_ms)}", timer_ms, due_ms)


def _ends(run: Json, now_ms: int) -> Iterator[Reason]:
    if begins_ms := run.get("begins_ms"):
        yield Reason("delay", f"begins {_in(begins_ms, now_ms)}, as its start asks", run["started_ms"], begins_ms)
    if deadline_ms := run.get("deadline_ms"):
        yield Reason("deadline", f"its time ends {_in(deadline_ms, now_ms)} ({moment(deadline_ms)})", None, deadline_ms)


def _in(epoch_ms: int, now_ms: int) -> str:
    left_ms = epoch_ms - now_ms
    return f"in {span(left_ms)}" if left_ms >= 0 else f"now ({span(left_ms)} overdue)"
