"""Small model of the simulation's workflows in plain Python, which judges runs without the engine's own code.

A program below is what a workflow of workflows.py must request and return, written down again by hand. From the engine
come the records alone: their events say what reached a run, and the model says what must have followed. It judges
requests, attempts, outcomes, children, signals and the rows that are left (verdict.py says when).
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from penstock.schemas.records.activity import (
    ActivityAdopted,
    ActivityAttemptFailed,
    ActivityCompleted,
    ActivityFailed,
    ActivityRetried,
    ActivityScheduled,
    ActivitySkipped,
)
from penstock.schemas.records.chain import WorkflowContinued
from penstock.schemas.records.child import ChildCompleted, ChildFailed, ChildScheduled
from penstock.schemas.records.external import ExternalSignalSent
from penstock.schemas.records.marker import PatchMarked, SideEffectRecorded
from penstock.schemas.records.pause import WorkflowPaused
from penstock.schemas.records.run import CancelRequested, WorkflowBlocked
from penstock.schemas.records.signal import SignalReceived
from penstock.schemas.records.timer import TimerFired, TimerStarted
from penstock.schemas.records.update import UpdateAccepted, UpdateHeld, UpdateTaken
from tests.simulation.origins import Origins
from tests.simulation.truth import Run
from tests.simulation.workflows import LEFT_MS

ENDED_BY_CODE = frozenset({"completed", "continued"})
AGAIN, FAILED, ANY, REJECTED = "again", "failed", "any", "rejected"
TIRED_ATTEMPTS, ATTEMPTS_ENOUGH = 3, 99


class Want(NamedTuple):
    """What a run must have requested by its end, each kind in its order, and what it must have returned.

    `results`: those that are right; several if the order in which inputs reached a BLOCKED run's code is open.
    `next_run`: workflow type and input of the run that continues it, in place of a result. `read`: number of signals
    that its code has read by its end. `is_unordered`: the order of activities and of the result's items is open."""

    activities: Sequence[tuple[str, Any]] = ()
    timers_ms: Sequence[int] = ()
    children: Sequence[tuple[str, Any]] = ()
    signals: Sequence[tuple[str, Any]] = ()
    results: Sequence[Any] = ()
    next_run: tuple[str, Any] | None = None
    read: int = 0
    is_unordered: bool = False


class Facts:
    """What a run's events say, in plain values."""

    def __init__(self, run: Run) -> None:
        self.run = run
        scheduled = run.of(ActivityScheduled)
        self.activities = [(event.activity, _value(event.input)) for event in scheduled]
        self.timers_ms = [event.due_ms - now_ms for now_ms, event in run.timed if type(event) is TimerStarted]
        self.children = [(event.workflow_type, _value(event.input)) for event in run.of(ChildScheduled)]
        self.signals = [(event.workflow_id, _value(event.input)) for event in run.of(ExternalSignalSent)]
        self.received = [_value(event.input) for event in run.of(SignalReceived)]
        self.headers = dict(run.started.headers)
        self.updates = [(name, _value(data)) for _, name, data in accepted_updates(run)]

    def first(self, *kinds: type) -> type | None:
        """Kind of the first event of one of these kinds."""
        return next((type(event) for event in self.run.events if type(event) in kinds), None)

    @property
    def was_blocked(self) -> bool:
        return bool(self.run.of(WorkflowBlocked) or self.run.of(WorkflowPaused) or self.run.fork)


def accepted_updates(run: Run) -> list[tuple[str, str, bytes]]:
    """Message ids, names and inputs of the updates whose handlers began, in that order."""
    held = {event.message_id: event for event in run.of(UpdateHeld)}
    found = []
    for event in run.events:
        if isinstance(event, UpdateAccepted):
            found.append((event.message_id, event.update, event.input))
        elif isinstance(event, UpdateTaken) and not event.problem:
            found.append((event.message_id, held[event.message_id].update, held[event.message_id].input))
    return found


def rash_values(run: Run) -> list[int]:
    """What the validator of an account, which breaks the rule that it reads, has left of updates that were held.

    Beside an activation the engine drops what a validator changed; within one it cannot."""
    held = {event.message_id: event for event in run.of(UpdateHeld)}
    rejected = [held[event.message_id] for event in run.of(UpdateTaken) if "negative" in event.problem]
    return [_value(event.input) for event in rejected if event.update == "sim_buy"]


def update_outcome(update: str, value: int) -> Any:
    """Result of an update, FAILED if its handler raises, REJECTED if its validator does."""
    if value < 0 and update != "sim_enter":
        return REJECTED
    if update == "sim_enter":
        return value * 2
    if value % 5 == 0:
        return FAILED
    return value * 3 if update == "sim_put" else value + 1


def _value(data: bytes) -> Any:
    return msgspec.json.decode(data) if data else None


# Activities: the outcome of an attempt.


def outcome(activity: str, given: Any, attempt: int) -> Any:
    """Result of an attempt, AGAIN for one that is retried, FAILED for one that is not."""
    match activity:
        case "sim_add" | "sim_late_add":
            return given["left"] + given["right"]
        case "sim_square" | "sim_slow":
            return given * given
        case "sim_flaky":
            return AGAIN if attempt <= given["failures"] else given["value"] * 2
        case "sim_tired":
            return AGAIN if attempt < TIRED_ATTEMPTS else FAILED
        case "sim_stamp":
            return ANY
        case "sim_once":
            return FAILED if attempt == 1 else given
        case "sim_book":
            return FAILED if given.startswith("full") else f"booked {given}"
        case "sim_unbook":
            return AGAIN if given.startswith("sticky") and attempt == 1 else None
    return FAILED  # sim_refused


def outcome_by_hand(activity: str, given: bytes) -> Any:
    """Result that an operator may give an activity, since its last attempt would return it; FAILED for none."""
    return outcome(activity, _value(given), ATTEMPTS_ENOUGH)


# Programs.


def _add(left: int, right: int) -> tuple[str, Any]:
    return "sim_add", {"left": left, "right": right}


def chain(facts: Facts, steps: int) -> Want:
    totals = [step * (step - 1) // 2 for step in range(steps + 1)]
    return Want([_add(totals[step], step) for step in range(steps)], results=[totals[steps]])


def fan(facts: Facts, width: int) -> Want:
    return Want([("sim_square", value) for value in range(width)], results=[sum(v * v for v in range(width))])


def retrying(facts: Facts, value: int, failures: int) -> Want:
    return Want([("sim_flaky", {"value": value, "failures": failures})], results=[value * 2])


def hopeless(facts: Facts, value: int) -> Want:
    return Want([("sim_refused", value), ("sim_tired", value)], results=[[1, TIRED_ATTEMPTS]])


def stamped(facts: Facts, count: int) -> Want:
    ended = [*facts.run.of(ActivityCompleted), *facts.run.of(ActivitySkipped)]
    found = {event.sequence: _value(event.result) for event in ended}
    return Want([("sim_stamp", value) for value in range(count)], results=[[found[key] for key in sorted(found)]])


def napping(facts: Facts, naps_ms: list[int]) -> Want:
    return Want(timers_ms=naps_ms, results=[True])


def racing(facts: Facts, value: int, patience_ms: int) -> Want:
    in_time = facts.first(ActivityCompleted, ActivitySkipped, TimerFired) is not TimerFired
    results = [value * value, -1] if facts.was_blocked else [value * value if in_time else -1]
    return Want([("sim_slow", value)], [patience_ms], results=results)


def approval(facts: Facts, patience_ms: int) -> Want:
    in_time = facts.first(SignalReceived, TimerFired) is SignalReceived
    results = ["yes", "too late"] if facts.was_blocked else ["yes" if in_time else "too late"]
    return Want(timers_ms=[patience_ms], results=results)


def collector(facts: Facts, count: int) -> Want:
    return Want(results=[sorted(facts.received[:count])])


def telling(facts: Facts, listener: str, count: int) -> Want:
    told = [(listener, value) for value in range(count)]
    return Want([_add(value, 1) for value in range(count)], signals=told, results=[count])


def trip(facts: Facts, places: list[str]) -> Want:
    """A saga, step by step: it ends early at the first full place, or where it was cancelled."""
    full = next((number for number, place in enumerate(places) if place.startswith("full")), len(places))
    return _saga(facts, places, places[: full + 1], timers_ms=[5_000] if full == len(places) else [])


def parallel_trip(facts: Facts, places: list[str]) -> Want:
    return _saga(facts, places, places, timers_ms=[])


def _saga(facts: Facts, places: list[str], steps: list[str], timers_ms: list[int]) -> Want:
    begun = [given for name, given in facts.activities if name == "sim_book"]
    is_cut_short = bool(facts.run.of(CancelRequested)) and begun == steps[: len(begun)]
    if is_cut_short and facts.run.status != "completed":
        steps = begun
        timers_ms = timers_ms[: len(facts.timers_ms)]
    undone = [] if facts.run.status in {"completed", "terminated"} else steps[::-1]
    books = [("sim_book", place) for place in steps]
    undos = [("sim_unbook", place) for place in undone]
    return Want(books + undos, timers_ms, results=[[f"booked {place}" for place in places]])


def parent(facts: Facts, name: str, children: int, fails: bool) -> Want:
    started = [("sim_chain", number + 1) for number in range(children)]
    totals: list[Any] = [number * (number + 1) // 2 for number in range(children)]
    return Want(children=started + [("sim_failing", name)] * fails, results=[totals + [-1] * fails])


def failing(facts: Facts, why: str) -> Want:
    return Want([_add(1, 1)])


def sleeper(facts: Facts, nap_ms: int) -> Want:
    return Want(timers_ms=[nap_ms], results=["slept"])


def guardian(facts: Facts, name: str) -> Want:
    return Want(children=[("sim_sleeper", 600_000)], results=["slept"])


def shepherd(facts: Facts, name: str, values: list[int], at_close: str) -> Want:
    children = [("sim_collector", len(values)), ("sim_sleeper", LEFT_MS)]
    return Want(children=children, signals=[(f"{name}.kid", value) for value in values], results=[sorted(values)])


def homeless(facts: Facts, steps: int) -> Want:
    totals = [1 + step * (step - 1) // 2 for step in range(steps + 1)]
    late = [("sim_late_add", {"left": totals[step], "right": step}) for step in range(steps)]
    return Want([_add(0, 1), *late], results=[totals[steps]])


def oracle(facts: Facts, sides: int) -> Want:
    thrown = facts.activities[0][1]["left"] if facts.activities else 0
    assert 0 <= thrown < sides, f"threw {thrown} of {sides}"
    return Want([_add(thrown, 1)], [300], results=[True])


def bulky(facts: Facts, size: int) -> Want:
    return Want([_add(size, 0)])


def named(facts: Facts, times: int) -> Want:
    return Want([_add(1, times)] * times, results=[facts.run.run_id])


def headers(facts: Facts) -> Want:
    return Want([_add(1, 1)], results=[facts.headers])


def headed(facts: Facts) -> Want:
    return Want(timers_ms=[200], children=[("sim_headers", None)], results=[[facts.headers] * 3])


def busy(facts: Facts, nap_ms: int) -> Want:
    flaky = [("sim_flaky", {"value": value, "failures": value}) for value in range(3)]
    children = [("sim_chain", 2), ("sim_sleeper", nap_ms)]
    return Want([*flaky, ("sim_slow", 2)], [nap_ms], children, results=[facts.run.run_id])


def relay(facts: Facts, batch: int, left: int, seen: list[int]) -> Want:
    count = min(batch, left)
    total = [*seen, *facts.received[:count]]
    if left <= batch:
        return Want([_add(len(total), 1)], results=[total], read=count)
    rest = {"batch": batch, "left": left - batch, "seen": total}
    return Want([_add(len(total), 1)], next_run=("sim_relay", rest), read=count)


def steps(facts: Facts, left: int, total: int) -> Want:
    activities = [_add(total, left)] if left % 2 else []
    if left <= 0:
        return Want(activities, results=[total])
    return Want(activities, next_run=("sim_steps", {"left": left - 1, "total": total + left}))


def patron(facts: Facts, left: int) -> Want:
    given = {"left": left, "total": 0}
    return Want(children=[("sim_steps", given)], results=[left * (left + 1) // 2])


def account(facts: Facts, wanted: int) -> Want:
    entered = [value for name, value in facts.updates if name == "sim_enter" or value % 5]
    bought = [_add(value, 1) for name, value in facts.updates if name == "sim_buy"]
    return Want(bought, results=[[*facts.received, *entered, *rash_values(facts.run)]], is_unordered=True)


def ledger(facts: Facts, runs: int) -> Want:
    if runs > 0:
        return Want([_add(runs, 0)], [500], next_run=("sim_ledger", runs - 1))
    paid = [_add(value, 2) for _, value in facts.updates if value % 2]
    entered = [value for _, value in facts.updates if value % 5]
    return Want([_add(0, 0), *paid], results=[entered], read=1, is_unordered=True)


def stubborn(facts: Facts, failures: int) -> Want:
    return Want([_add(failures, 1)], results=[facts.run.started.chain_length])


def mended(facts: Facts, value: int) -> Want:
    return Want([_add(value, 1), ("sim_once", value)], results=[value * 2 + 1])


def versioned(facts: Facts, left: int, to: int) -> Want:
    version = facts.run.started.version
    activities = [_add(version, left), _add(version, 100 + left)]
    if left:
        return Want(activities, [700], next_run=("sim_versioned", {"left": left - 1, "to": 0}))
    return Want(activities, [700], results=[2 * version + 100])


def verbose(facts: Facts, bursts: int, size: int) -> Want:
    return chain(facts, bursts)


def described(facts: Facts, left: int) -> Want:
    started = facts.run.started
    search = {**(_value(started.search) or {}), "left": left, "stage": "done"}
    search.pop("customer", None)
    next_run = ("sim_described", left - 1) if left else None
    return Want([_add(left, 1)], results=[[_value(started.memo) or {}, search]], next_run=next_run)


PROGRAMS: Mapping[str, Callable[..., Want]] = {
    f"sim_{program.__name__}": program
    for program in (
        chain, fan, retrying, hopeless, stamped, napping, racing, approval, collector, telling, trip, parallel_trip,
        parent, failing, sleeper, guardian, shepherd, homeless, oracle, bulky, named, headers, headed, busy, relay,
        steps, patron, account, ledger, stubborn, mended, described, versioned, verbose,
    )
} | {"sim_heavy": bulky}  # fmt: skip


# Judgement of one run.


def judge(run: Run) -> str:
    """What is wrong with a run; empty for nothing."""
    facts = Facts(run)
    want = wanted(facts)
    problem = _requests_problem(facts, want) or _attempts_problem(run)
    if problem or run.status not in ENDED_BY_CODE:
        return problem
    end = run.events[-1]
    if isinstance(end, WorkflowContinued):
        made = (end.workflow_type, _value(end.input))
        return "" if made == want.next_run else f"continues as {made}, not {want.next_run}"
    value = sorted(_value(end.result)) if want.is_unordered else _value(end.result)
    if want.is_unordered:
        want = want._replace(results=[sorted(result) for result in want.results])
    return "" if value in want.results else f"returned {value}, not {' or '.join(map(str, want.results))}"


def wanted(facts: Facts) -> Want:
    """What the run's code must have done with what reached it."""
    program, given = PROGRAMS[facts.run.workflow_type], _value(facts.run.started.input)
    names = list(inspect.signature(program).parameters)[1:]
    arguments = [given[name] for name in names] if len(names) > 1 else [given] * len(names)
    return program(facts, *arguments)


def _requests_problem(facts: Facts, want: Want) -> str:
    """A run that its code ended made all of its requests; any other the first of them."""
    for kind in ("activities", "timers_ms", "children", "signals"):
        made, asked = list(getattr(facts, kind)), list(getattr(want, kind))
        if want.is_unordered:
            made, asked = sorted(made, key=repr), sorted(asked, key=repr)
        expected = asked if facts.run.status in ENDED_BY_CODE else asked[: len(made)]
        if want.is_unordered and facts.run.status not in ENDED_BY_CODE:
            expected = made if _are_among(made, asked) else asked
        if made != expected:
            return f"requested {kind} {made}, not {asked}"
    if facts.run.workflow_type == "sim_oracle" and facts.run.status == "completed":
        kept = [_value(event.value) for event in facts.run.of(SideEffectRecorded) if _value(event.value) != "next"]
        marked = [event.patch for event in facts.run.of(PatchMarked) if event.patch != "sim-next"]
        if kept != [_value(facts.run.started.input) * 2] or marked != ["sim-patch"]:
            return f"recorded {kept} and {marked}"
    return ""


def _are_among(made: Sequence[Any], asked: Sequence[Any]) -> bool:
    """Whether everything made was asked for, as often as that."""
    return not Counter(map(repr, made)) - Counter(map(repr, asked))


def _attempts_problem(run: Run) -> str:
    """Each activity was tried as often as its outcomes say, and its last outcome is the recorded one."""
    for scheduled in run.of(ActivityScheduled):
        attempt = 1
        for index, event in enumerate(run.events):
            if getattr(event, "sequence", 0) != scheduled.sequence:
                continue
            if run.is_received_again(index) or isinstance(event, ActivityAdopted):
                attempt = getattr(event, "attempt", attempt)
            expected = outcome(scheduled.activity, _value(scheduled.input), attempt)
            match event:
                case ActivityAttemptFailed():
                    was_silent = event.failure.kind == "timeout"  # truth.py says whether it was
                    is_right = event.attempt == attempt and (expected == AGAIN or was_silent)
                case ActivityFailed():
                    is_right = event.attempt == attempt and expected == FAILED
                case ActivityCompleted():
                    is_right = event.attempt == attempt and expected in (ANY, _value(event.result))
                case ActivitySkipped():
                    is_right = outcome_by_hand(scheduled.activity, scheduled.input) in (ANY, _value(event.result))
                case ActivityRetried():
                    attempt += 1
                    is_right = event.attempt == attempt
                case _:
                    continue
            if not is_right:
                return f"has {event} after {attempt} attempts, which give {expected}"
    return ""


# Judgement of all runs together: nothing is lost or takes effect twice.


def judge_all(runs: Iterable[Run], origins: Origins) -> str:
    """What is wrong between runs; empty for nothing."""
    runs = list(runs)
    by_parent: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        started = run.started
        if started.parent_workflow_id and not started.previous_run_id and run.fork is None:
            key = (started.parent_workflow_id, started.parent_run_id, started.parent_sequence)
            by_parent.setdefault(key, []).append(run)
    # One that went along to the next run has no id there.
    received = [event for run in runs for event in run.own if isinstance(event, SignalReceived)]
    messages = Counter(event.message_id for event in received if event.message_id)
    twice = [message_id for message_id, count in messages.items() if count > 1]
    if twice:
        return f"signals {twice} took effect more than once"
    for run in runs:
        for event in run.of(ChildScheduled):
            request = (run.workflow_id, run.run_id, event.sequence)
            found = by_parent.get(request) or by_parent.get(origins.of(request), [])
            problem = _child_problem(run, event, found, runs)
            if problem:
                return f"{run}: {problem}"
    return _signals_problem(runs)


def _child_problem(run: Run, scheduled: ChildScheduled, found: list[Run], runs: Sequence[Run]) -> str:
    """What is wrong with a child. `found`: the runs that this request started, but for those that continue one."""
    if len(found) != 1:
        return f"child {scheduled.workflow_id} has {len(found)} runs"
    (child,) = found
    asked = (scheduled.workflow_id, scheduled.workflow_type, scheduled.input)
    if (child.workflow_id, child.workflow_type, child.started.input) != asked:
        return f"{child} started with {child.started.input!r} for {asked}"
    child = [other for other in runs if (other.workflow_id, other.chain_id) == (child.workflow_id, child.run_id)][-1]
    for event in run.events:
        if getattr(event, "sequence", 0) != scheduled.sequence:
            continue
        if isinstance(event, ChildCompleted) and (child.status, child.events[-1].result) != ("completed", event.result):
            return f"received {event.result!r} of {child}, which is {child.status}"
        if isinstance(event, ChildFailed) and child.status != event.status:
            return f"was told that {child} is {event.status}, and it is {child.status}"
    return ""


def _signals_problem(runs: Sequence[Run]) -> str:
    """What workflows sent arrived once: those that have ended sent everything to a run that waits for it."""
    for run in runs:
        sent = Counter((event.workflow_id, event.input) for event in run.of(ExternalSignalSent))
        arrived = Counter(
            (other.workflow_id, event.input)
            for other in runs
            for event in other.own
            if isinstance(event, SignalReceived)
            if other.workflow_id in {target for target, _ in sent}
        )
        if run.status == "completed" and sent != arrived:
            return f"{run} sent {dict(sent)}, and {dict(arrived)} arrived"
    return ""


# Judgement of the rows that are left in one shard.


def judge_rows(rows: Mapping[bytes, bytes], runs: Iterable[Run], due: Mapping[tuple[str, str, str, int], int]) -> str:
    """What is wrong with a shard's rows; empty for nothing. `runs`: of this shard. `due`: punctuality.py."""
    index = {
        b"T" + due_ms.to_bytes(8, "big") + kind.encode() + _key(workflow_id, run_id, sequence)
        for (kind, workflow_id, run_id, sequence), due_ms in due.items()
    }
    wanted: dict[bytes, set[bytes]] = {b"T": index, b"B": set(), b"t": set(), b"C": set()}
    for run in runs:
        if run.status == "continued" and _history_rows(rows, run):
            return f"{run} has continued, and keeps its history"
        if run.is_closed:
            continue
        if run.status == "blocked":
            wanted[b"B"].add(b"B" + run.workflow_id.encode())
        for kind, pending in ((b"t", run.timers), (b"C", run.children)):
            wanted[kind] |= {kind + _key(run.workflow_id, run.run_id, sequence) for sequence in pending}
        if b"R" + run.workflow_id.encode() not in rows:
            return f"{run} has no header"
        kept, recorded = _history_rows(rows, run), len(run.records)
        if kept != recorded:
            return f"{run} has {kept} rows of history, and {recorded} decisions"
    for kind, keys in wanted.items():
        found = {key for key in rows if key[:1] == kind}
        if found != keys:
            return f"rows {kind!r} are {sorted(found)[:5]}, not {sorted(keys)[:5]}"
    return ""


def _history_rows(rows: Mapping[bytes, bytes], run: Run) -> int:
    prefix = b"H" + _key(run.workflow_id, run.run_id, 0)[:-8]
    return sum(key.startswith(prefix) for key in rows)


def rows_of(entries: Iterable[tuple[bytes | None, bytes | None]]) -> dict[bytes, bytes]:
    """The rows that a changelog's committed records leave: the last one of each key counts."""
    rows: dict[bytes, bytes] = {}
    for key, value in entries:
        rows.pop(key or b"", None)
        if value is not None:
            rows[key or b""] = value
    return rows


def _key(workflow_id: str, run_id: str, sequence: int) -> bytes:
    return b"\x00".join([workflow_id.encode(), run_id.encode(), sequence.to_bytes(8, "big")])
