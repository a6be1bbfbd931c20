"""Scenarios of clients: moves, each made when its condition holds, and a verdict on the outcome.

The verdicts are plain Python: the outcome of the workflow without any faults.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from penstock.schemas.records.activity import ActivityCompleted, ActivityScheduled, ActivitySkipped
from penstock.schemas.records.child import ChildScheduled
from penstock.schemas.records.pause import WorkflowPaused
from penstock.schemas.records.reset import RetryWorkflow
from penstock.schemas.records.run import (
    AwaitResult,
    CancelWorkflow,
    HistoryExceeded,
    TerminateWorkflow,
    UnblockWorkflow,
    WorkflowBlocked,
)
from penstock.schemas.records.signal import SignalReceived
from penstock.schemas.records.timer import TimerFired
from tests.simulation.auditor import Auditor
from tests.simulation.builds import USUAL
from tests.simulation.clients import Client
from tests.simulation.truth import Run

Ready = Callable[[Auditor], bool]
Verdict = Callable[[Auditor], str]


COMPLETION_BYTES_MAX = 300_000


class Move:
    """An action of a client, taken once `ready` holds."""

    def __init__(self, act: Callable[[Client], Any], ready: Ready | None = None) -> None:
        self.act, self.ready = act, ready or at_once


class Scenario:
    """A few moves about one workflow id. `verdict` returns what is wrong, empty for nothing.

    `may_stay`: why the run may be open at the end: the reason it is BLOCKED for. `resettable`: ids of runs that may be
    reset at any moment, which leaves the outcome as it is."""

    def __init__(
        self, workflow_id: str, moves: list[Move], verdict: Verdict, may_stay: str = "", resettable: Sequence[str] = ()
    ) -> None:
        self.workflow_id, self.moves, self.verdict = workflow_id, moves, verdict
        self.may_stay, self.resettable = may_stay, resettable


# Conditions of moves, and verdicts.


def at_once(auditor: Auditor) -> bool:
    return True


def started(workflow_id: str) -> Ready:
    return lambda auditor: auditor.present(workflow_id) is not None


def closed(workflow_id: str) -> Ready:
    return lambda auditor: (run := auditor.present(workflow_id)) is not None and run.is_closed


def completed(workflow_id: str, expected: Any) -> Verdict:
    """Verdict: one run, with that result."""
    return judged(
        workflow_id, lambda run: "" if (value := result(run)) == expected else f"gave {value}, not {expected}"
    )


def judged(workflow_id: str, judge: Callable[[Run], str], status: str = "completed") -> Verdict:
    """Verdict: one run, or the last that went on from it, with that status; `judge` finds nothing wrong in it."""

    def verdict(auditor: Auditor) -> str:
        runs = auditor.runs.get(workflow_id, [])
        if sum(run.fork is None for run in runs) != 1:
            return f"{workflow_id} had {len(runs)} runs, not 1"
        run = runs[-1]
        if run.status not in status.split("|"):
            return f"{run} is {run.status}, not {status}"
        problem = judge(run)
        return f"{run} {problem}" if problem else ""

    return verdict


def _was_halted(run: Run) -> bool:
    return bool(run.of(WorkflowBlocked) or run.of(WorkflowPaused) or run.fork)


def result(run: Run) -> Any:
    return msgspec.json.decode(run.events[-1].result) if run.status == "completed" else None


# Kinds of scenarios.


def _simple(workflow_type: str, arguments: Callable[[Random], tuple[Any, ...]], model: Callable[..., Any]) -> Any:
    def build(random: Random, name: str) -> Scenario:
        given = arguments(random)
        start = Move(lambda client: client.start(workflow_type, name, *given))
        return Scenario(name, [start], completed(name, model(*given)), resettable=[name])

    return build


def _stamped(random: Random, name: str) -> Scenario:
    count = random.randint(1, 3)

    def judge(run: Run) -> str:
        recorded = [msgspec.json.decode(found.result) for _, found in sorted(run.activities.items())]
        return "" if result(run) == recorded else f"saw {result(run)}, its history has {recorded}"

    start = Move(lambda client: client.start("sim_stamped", name, count))
    return Scenario(name, [start], judged(name, judge), resettable=[name])


def _racing(random: Random, name: str) -> Scenario:
    value, patience_ms = random.randint(2, 9), random.choice((50, 500, 5_000))

    def judge(run: Run) -> str:
        # Both reach the code at once if it was BLOCKED meanwhile.
        has_result = run.of(ActivityCompleted) or run.of(ActivitySkipped)
        expected = {value * value if has_result else -1} | ({-1} if _was_halted(run) else set())
        return "" if result(run) in expected else f"gave {result(run)}, not {expected}"

    start = Move(lambda client: client.start("sim_racing", name, value, patience_ms))
    return Scenario(name, [start], judged(name, judge), resettable=[name])


def _approval(random: Random, name: str) -> Scenario:
    patience_ms, is_sent = random.choice((200, 2_000, 60_000)), random.random() < 0.7
    moves = [Move(lambda client: client.start("sim_approval", name, patience_ms))]
    if is_sent:
        moves.append(Move(lambda client: client.signal(name, "sim_go", "yes", hopeless=True), started(name)))
    if random.random() < 0.4:  # it comes before the run, or after its end
        moves.insert(0, Move(lambda client: client.signal(name, "sim_go", "yes", hopeless=True)))

    def judge(run: Run) -> str:
        decisive = [event for event in run.events if isinstance(event, SignalReceived | TimerFired)]
        expected = "yes" if isinstance(decisive[0], SignalReceived) else "too late"
        if result(run) == expected or (_was_halted(run) and len(decisive) > 1):
            return ""
        return f"gave {result(run)}, not {expected}"

    return Scenario(name, moves, judged(name, judge), resettable=[name])


def _collector(random: Random, name: str) -> Scenario:
    values = [random.randrange(1_000_000) for _ in range(random.randint(1, 4))]
    moves = [Move(lambda client: client.start("sim_collector", name, len(values)))]
    moves += [
        Move(lambda client, value=value: client.signal(name, "sim_tick", value), started(name)) for value in values
    ]
    return Scenario(name, moves, completed(name, sorted(values)), resettable=[name])


def _telling(random: Random, name: str) -> Scenario:
    count, listener = random.randint(1, 3), f"{name}.listener"
    moves = [
        Move(lambda client: client.start("sim_collector", listener, count)),
        Move(lambda client: client.start("sim_telling", name, listener, count), started(listener)),
    ]
    both = (completed(name, count), completed(listener, list(range(count))))
    return Scenario(name, moves, lambda auditor: " and ".join(filter(None, (verdict(auditor) for verdict in both))))


def _trip(random: Random, name: str) -> Scenario:
    places = [f"{random.choice(('sea', 'sea', 'sticky', 'full'))}-{number}" for number in range(random.randint(2, 4))]
    workflow_type = random.choice(("sim_trip", "sim_trip", "sim_parallel_trip"))
    moves = [Move(lambda client: client.start(workflow_type, name, places))]
    is_cancelled = random.random() < 0.4
    if is_cancelled:
        moves.append(Move(lambda client: client.ask(CancelWorkflow(workflow_id=name, reason="changed")), started(name)))

    def judge(run: Run) -> str:
        scheduled = run.of(ActivityScheduled)
        booked = [event.input for event in scheduled if event.activity == "sim_book"]
        undone = [event.input for event in scheduled if event.activity == "sim_unbook"]
        if run.status == "completed":
            ok = not undone and result(run) == [f"booked {place}" for place in places]
        else:
            ok = undone == booked[::-1]
        if is_cancelled and not ok and run.status == "failed":
            ok = undone == booked[::-1]
        return "" if ok else f"ended {run.status}, booked {booked} and undid {undone}"

    is_full = any(place.startswith("full") for place in places)
    status = "|".join((["failed"] if is_full else ["completed"]) + (["cancelled"] if is_cancelled else []))
    return Scenario(name, moves, judged(name, judge, status), resettable=[name])


def _parent(random: Random, name: str) -> Scenario:
    children, fails = random.randint(1, 3), random.random() < 0.4
    expected = [number * (number + 1) // 2 for number in range(children)] + ([-1] if fails else [])
    start = Move(lambda client: client.start("sim_parent", name, name, children, fails))
    # Not both: a child of a run that was reset would take the id of the one that another run starts.
    resettable = [name] if random.random() < 0.6 else [f"{name}.child-{number}" for number in range(children)]
    return Scenario(name, [start], completed(name, expected), resettable=resettable)


def _sleeper(random: Random, name: str) -> Scenario:
    command = random.choice((CancelWorkflow, TerminateWorkflow))
    moves = [
        Move(lambda client: client.start("sim_sleeper", name, 300_000)),
        Move(lambda client: client.ask(command(workflow_id=name, reason="enough")), started(name)),
    ]
    status = "cancelled" if command is CancelWorkflow else "terminated"
    return Scenario(name, moves, judged(name, lambda run: "", f"{status}|completed"))


def _guardian(random: Random, name: str) -> Scenario:
    command, child = random.choice((CancelWorkflow, TerminateWorkflow)), f"{name}.sleeper"
    moves = [
        Move(lambda client: client.start("sim_guardian", name, name)),
        Move(
            lambda client: client.ask(command(workflow_id=name, reason="enough")), started(random.choice((name, child)))
        ),
    ]
    status = "cancelled" if command is CancelWorkflow else "terminated"

    def verdict(auditor: Auditor) -> str:
        # A guardian that was BLOCKED at its start may be stopped before it has started its child.
        whole = [name, child] if any(run.of(ChildScheduled) for run in auditor.runs.get(name, ())) else [name]
        found = (judged(which, lambda run: "", f"{status}|completed")(auditor) for which in whole)
        return " and ".join(filter(None, found))

    return Scenario(name, moves, verdict)


def _shepherd(random: Random, name: str) -> Scenario:
    values = [random.randrange(1_000_000) for _ in range(random.randint(1, 3))]
    at_close = random.choice(("", "cancel", "terminate", "abandon"))
    return Scenario(
        name,
        [Move(lambda client: client.start("sim_shepherd", name, name, values, at_close))],
        completed(name, sorted(values)),
    )


def _bulky(random: Random, name: str) -> Scenario:
    size = 1_000_200

    def blocked(auditor: Auditor) -> bool:
        run = auditor.present(name)
        return run is not None and run.status == "blocked"

    moves = [Move(lambda client: client.start("sim_bulky", name, size))]
    if random.random() < 0.5:
        moves.append(Move(lambda client: client.ask(UnblockWorkflow(workflow_id=name)), blocked))
        moves.append(Move(lambda client: client.ask(TerminateWorkflow(workflow_id=name, reason="too big")), blocked))
    status = "terminated" if len(moves) > 1 else "blocked"
    return Scenario(name, moves, judged(name, lambda run: "", status), may_stay="too_large")


def _heavy(random: Random, name: str) -> Scenario:
    """A run whose completion keeps its transaction from committing; only that run is BLOCKED, and keeps its input."""
    start = Move(lambda client: client.start("sim_heavy", name, COMPLETION_BYTES_MAX + 1))

    def judge(run: Run) -> str:
        (kept,) = (found.state == "completed" for found in run.activities.values())
        return "" if kept else "lost its result"

    return Scenario(name, [start], judged(name, judge, "blocked"), may_stay="refused_record")


def _named(random: Random, name: str) -> Scenario:
    times = random.randint(2, 3)
    first = Move(lambda client: client.start("sim_named", name, 1))
    again = Move(lambda client: client.start("sim_named", name, 1, on_existing="restart_closed"), closed(name))
    moves = [first]
    for _ in range(times - 1):
        moves += [again, Move(lambda client: client.start("sim_named", name, 1, on_existing="reject", hopeless=True))]

    def verdict(auditor: Auditor) -> str:
        runs = auditor.runs.get(name, [])
        wrong = [str(run) for run in runs if run.status != "completed" or result(run) != run.run_id]
        if wrong:
            return f"{wrong} did not end with their own run ids"
        most = len(moves)  # once an old run has expired, a start that would have been refused begins another one
        return "" if 1 <= len(runs) <= most else f"{name} had {len(runs)} runs, not up to {most}"

    return Scenario(name, moves, verdict)


def _headed(random: Random, name: str) -> Scenario:
    given = {f"key-{number}": f"{name}-{number}" for number in range(random.randint(0, 3))}
    start = Move(lambda client: client.start("sim_headed", name, headers=given))
    return Scenario(name, [start], completed(name, [given] * 3))


def _replaced(random: Random, name: str) -> Scenario:
    """Starts that each terminate the open run and become a run of their own; the last one in the log completes."""
    arguments = {"sim_busy": (random.choice((100, 3_000, 60_000)),), "sim_headed": (), "sim_homeless": (2,)}
    kinds = [random.choice(("sim_busy", "sim_busy", "sim_headed", "sim_homeless")) for _ in range(random.randint(2, 4))]

    def start(kind: str, ready: Ready) -> Move:
        return Move(lambda client: client.start(kind, name, *arguments[kind], on_existing="terminate_existing"), ready)

    moves = [start(kinds[0], at_once), *(start(kind, random.choice((at_once, started(name)))) for kind in kinds[1:])]
    if random.random() < 0.5:
        moves.insert(1, Move(lambda client: client.ask(AwaitResult(workflow_id=name)), started(name)))

    def verdict(auditor: Auditor) -> str:
        runs = auditor.runs.get(name, [])
        if len(runs) != len(kinds):
            return f"{name} had {len(runs)} runs, not {len(kinds)}"
        problems = [_problem_of_replaced(run, later) for run, later in zip(runs, [*runs[1:], None], strict=True)]
        return " and ".join(filter(None, problems))

    return Scenario(name, moves, verdict)


def _problem_of_replaced(run: Run, later: Run | None) -> str:
    if run.status == "terminated":
        reason = run.events[-1].reason
        return "" if later and reason == f"replaced by run {later.run_id}" else f"{run} was terminated: {reason}"
    expected: dict[str, Any] = {"sim_busy": run.run_id, "sim_headed": [run.started.headers] * 3, "sim_homeless": 2}
    if run.status != "completed" or result(run) != expected[run.workflow_type]:
        return f"{run} is {run.status} with {result(run)}, not {expected[run.workflow_type]}"
    return ""


def _awaited(random: Random, name: str) -> Scenario:
    steps = random.randint(1, 3)
    moves = [
        Move(lambda client: client.start("sim_chain", name, steps)),
        Move(lambda client: client.ask(AwaitResult(workflow_id=name)), started(name)),
    ]
    return Scenario(name, moves, completed(name, steps * (steps - 1) // 2), resettable=[name])


def _mended(random: Random, name: str) -> Scenario:
    """A run that fails at an activity, and completes when it is retried."""
    value = random.randint(1, 9)
    moves = [
        Move(lambda client: client.start("sim_mended", name, value)),
        Move(
            lambda client: client.ask(RetryWorkflow(workflow_id=name, by="operator", reason="mended"), hopeless=True),
            closed(name),
        ),
    ]

    def judge(run: Run) -> str:
        # The operator who skips activities may have spared it the failure.
        return "" if result(run) == value * 2 + 1 else f"gave {result(run)}"

    def verdict(auditor: Auditor) -> str:
        run = auditor.present(name)
        builds = {batch.build for batches in auditor.batches.values() for batch in batches}
        if run is not None and run.status == "failed" and run.fork is None and builds != {USUAL.name}:
            return ""  # the code of another build could not repeat its history, so that the retry was refused
        return judged(name, judge)(auditor)

    return Scenario(name, moves, verdict)


def _verbose(random: Random, name: str) -> Scenario:
    """A run with a long history, which fails if it has no more room."""
    bursts, size = random.choice((1, 2, 6)), 12
    before_end = 1 + bursts * (size + 1) + bursts - 1

    def verdict(auditor: Auditor) -> str:
        status = "failed" if before_end > auditor.history_max else "completed|failed"
        found = judged(name, lambda run: "", status)(auditor)
        run = auditor.present(name)
        is_full = run is None or run.status != "failed" or isinstance(run.events[-1], HistoryExceeded)
        return found or ("" if is_full else f"{run} ended with {run.events[-1]}")

    return Scenario(name, [Move(lambda client: client.start("sim_verbose", name, bursts, size))], verdict)


def _litter(random: Random, name: str) -> Scenario:
    return Scenario(
        name, [Move(lambda client: client.litter()) for _ in range(random.randint(1, 3))], lambda auditor: ""
    )


KINDS: dict[str, Callable[[Random, str], Scenario]] = {
    "chain": _simple("sim_chain", lambda r: (r.randint(1, 4),), lambda n: n * (n - 1) // 2),
    "fan": _simple("sim_fan", lambda r: (r.randint(1, 6),), lambda n: sum(value * value for value in range(n))),
    "retrying": _simple("sim_retrying", lambda r: (r.randint(1, 9), r.randint(0, 3)), lambda n, failures: n * 2),
    "hopeless": _simple("sim_hopeless", lambda r: (r.randint(1, 9),), lambda n: [1, 3]),
    "stamped": _stamped,
    "napping": _simple(
        "sim_napping", lambda r: ([r.randint(1, 3_000) for _ in range(r.randint(1, 3))],), lambda n: True
    ),
    "racing": _racing,
    "approval": _approval,
    "collector": _collector,
    "telling": _telling,
    "trip": _trip,
    "parent": _parent,
    "sleeper": _sleeper,
    "guardian": _guardian,
    "shepherd": _shepherd,
    "homeless": _simple("sim_homeless", lambda r: (r.randint(1, 3),), lambda n: 1 + n * (n - 1) // 2),
    "oracle": _simple("sim_oracle", lambda r: (r.randint(2, 100),), lambda n: True),
    "bulky": _bulky,
    "heavy": _heavy,
    "named": _named,
    "headed": _headed,
    "replaced": _replaced,
    "awaited": _awaited,
    "mended": _mended,
    "verbose": _verbose,
    "litter": _litter,
}
