"""Checks at the end of a simulation, when the faults are over and all inputs were processed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.engine.store.changelog import (
    BEHIND_ALL_KEYS,
    CHANGELOG_OFFSET_KEY,
    checksum,
    checksum_of_changelog,
    restore,
)
from penstock.engine.store.memory import MemoryStore
from penstock.schemas.encoding.codec import decode_command
from penstock.schemas.errors import NonDeterminism, Undecodable
from penstock.schemas.records.activity import ActivityScheduled
from penstock.schemas.records.child import ChildScheduled
from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.replies import Rejected, RunClosed
from penstock.schemas.records.run import (
    AwaitResult,
    CancelRequested,
    CancelWorkflow,
    StartWorkflow,
    TerminateWorkflow,
    WorkflowTimedOut,
)
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.records.update import UpdateWorkflow
from penstock.topics.partitioner import partition_of
from tests.simulation import chains, deleted, histories, interventions, model, notes, publications, reads, updates
from tests.simulation.client import SimLog
from tests.simulation.redecide import redecide
from tests.simulation.story import Violation
from tests.simulation.truth import Run

if TYPE_CHECKING:
    from tests.simulation.world import World


def check(world: World) -> None:
    """Check stores, runs, scenarios and replies. Raises Violation."""
    world.auditor.look()
    _inputs_are_done(world)
    _stores_are_the_changelog(world)
    _runs_have_ended(world)
    _histories_replay(world)
    _model_agrees(world)
    for shard, batches in world.auditor.batches.items():
        redecide(shard, world.shards, world.topics, batches)
    _scenarios_succeeded(world)
    _children_were_stopped(world)
    _headers_arrived(world)
    _delays_were_kept(world)
    _bounds_were_kept(world)
    _all_were_answered(world)
    _dead_letters_are_garbage(world)
    _interventions_are_those_of_operators(world)
    _histories_are_bounded(world)
    _published_is_what_was_decided(world)
    _notes_go_along(world)


def _published_is_what_was_decided(world: World) -> None:
    problem = publications.judge(world.broker, world.topics, world.shards)
    if problem:
        raise Violation("T (transaction)", problem)


def _notes_go_along(world: World) -> None:
    """Memo, search attributes and details of each run are those of its start, and those that its code has set."""
    for runs in world.auditor.runs.values():
        for run in runs:
            command = next(iter(world.client.asked.get(run.run_id, ())), None)
            previous = next((other for other in runs if other is not run and other.is_followed_by(run)), None)
            problem = notes.judge(run, previous, command, world.auditor.ends.get(run.run_id))
            if problem:
                raise Violation("P (propagation)", f"{run} {problem}")


def _histories_are_bounded(world: World) -> None:
    runs = [run for runs in world.auditor.runs.values() for run in runs]
    for run in runs:
        problem = histories.judge(run, world.auditor.history_max, world.warned)
        if problem:
            raise Violation("N (histories)", f"{run} {problem}")


def _interventions_are_those_of_operators(world: World) -> None:
    runs = [run for runs in world.auditor.runs.values() for run in runs]
    problem = interventions.judge_skips(runs, world.client.asked, world.auditor.replies)
    problem = problem or interventions.judge_changes(runs, world.client.asked, world.auditor.replies)
    problem = problem or interventions.judge_forks(runs, world.client.asked, world.auditor.replies)
    if problem:
        raise Violation("M (by hand)", problem)


def _model_agrees(world: World) -> None:
    """Runs and rows are those of the model in plain Python."""
    runs = [run for runs in world.auditor.runs.values() for run in runs]
    for run in runs:
        problem = model.judge(run)
        if problem:
            raise Violation("W (workflows)", f"{run} {problem}")
    problem = model.judge_all(runs, world.auditor.origins)
    if problem:
        raise Violation("W (workflows)", problem)
    for chain in world.auditor.runs.values():
        problem = chains.judge(chain)
        if problem:
            raise Violation("K (chains)", problem)
    _queries_are_answered(world)
    for number in range(world.shards):
        entries = world.broker.partition((world.topics.state_changelog, number)).entries
        rows = model.rows_of((entry.key, entry.value) for entry in entries if entry.was_committed)
        ours = [run for run in runs if partition_of(run.workflow_id, world.shards) == number]
        present = [chain[-1] for chain in world.auditor.runs.values()]
        problem = notes.judge_rows(rows, [run for run in present if run in ours])
        problem = problem or model.judge_rows(rows, ours, world.auditor.punctuality[number].due)
        for chain in world.auditor.runs.values():
            problem = problem or deleted.judge_end(chain, rows)
        for process in world.processes:
            held = process.driver._held.get(number) if process.driver is not None else None
            if held is not None and dict(held.store.scan(b"\x01", BEHIND_ALL_KEYS)) != rows:
                problem = problem or "the owner's store has other rows"
        if problem:
            raise Violation("S (store)", f"shard {number}: {problem}")


def _queries_are_answered(world: World) -> None:
    may_differ = world.weather.builds != "usual" or world.weather.days > 0
    for found in world.auditor.reads.values():
        for read in found.found:
            problem = reads.judge(read, world.auditor.runs.get(read.command.workflow_id, []), may_differ=may_differ)
            if problem:
                raise Violation("Q (queries)", f"{read.command}: {problem}")


def _inputs_are_done(world: World) -> None:
    if world.broker.open:
        raise Violation("L (liveness)", f"transactions are still open: {sorted(world.broker.open)}")
    left = inputs_left(world)
    if left:
        raise Violation("L (liveness)", f"inputs were not processed: {left}")


def inputs_left(world: World) -> list[tuple[str, int, int]]:
    """First input of each partition that no processor has handled yet."""
    offsets = {where: offset for group in world.broker.groups.values() for where, offset in group.offsets.items()}
    found = []
    for topic in (world.topics.commands, world.topics.results):
        for number in range(world.shards):
            entries = world.broker.partition((topic, number)).entries[offsets.get((topic, number), 0) :]
            left = next((entry for entry in entries if entry.is_committed), None)
            if left is not None:
                found.append((topic, number, left.offset))
    return found


def _stores_are_the_changelog(world: World) -> None:
    """The owners' stores, the changelog and a store restored from nothing are equal."""
    log = SimLog(world.broker, world.processes[0])
    held = {
        number: found
        for process in world.processes
        if process.driver is not None
        for number, found in process.driver._held.items()
    }
    if sorted(held) != list(range(world.shards)):
        raise Violation("L (liveness)", f"of {world.shards} shards only {sorted(held)} have an owner")
    for number, found in held.items():
        expected = checksum_of_changelog(log, world.topics.state_changelog, number)
        if checksum(found.store) != expected:
            raise Violation("S (store)", f"shard {number}'s store differs from its changelog")
        fresh = MemoryStore()
        restore(log, world.topics.state_changelog, number, fresh, timeout_s=1)
        if checksum(fresh) != expected:
            raise Violation("S (store)", f"shard {number}'s restored store differs from its changelog")
        left = [key for kind in (b"A", b"t", b"C", b"W", b"T") for key, _ in fresh.scan(kind, kind + b"\xff")]
        still_open = {run.workflow_id for runs in world.auditor.runs.values() for run in runs if not run.is_closed}
        left = [key for key in left if not any(name.encode() in key for name in still_open)]
        if left:
            raise Violation("S (store)", f"shard {number} keeps rows of closed runs: {left[:5]}")
        assert fresh.get(CHANGELOG_OFFSET_KEY) is not None


def _runs_have_ended(world: World) -> None:
    may_stay = {scenario.workflow_id: scenario.may_stay for scenario in world.scenarios if scenario.may_stay}
    for runs in world.auditor.runs.values():
        for run in runs:
            if run.is_closed:
                if world.auditor.completions[run.run_id] != (not run.is_followed):
                    raise Violation("T (transaction)", f"{run} has {world.auditor.completions[run.run_id]} completions")
            elif (run.blocked_reason or "running") not in _reasons(world, may_stay.get(run.workflow_id)):
                raise Violation("L (liveness)", f"{run} never ended: {run.status} {run.blocked_reason} {_waits(run)}")


def _reasons(world: World, may_stay: str | None) -> set[str | None]:
    """Reasons for which a run may be BLOCKED: a dry run leaves the first one, if another build had blocked it."""
    other = {"non_determinism", "code_error", "runs_on"} if may_stay and world.weather.builds != "usual" else set()
    return {may_stay, *other}


def _waits(run: Any) -> str:
    pending = {number: found.state for number, found in run.activities.items() if found.state in ("open", "waiting")}
    return f"(activities {pending}, timers {run.timers}, children {run.children})"


def _histories_replay(world: World) -> None:
    for runs in world.auditor.runs.values():
        for run in runs:
            try:
                code = world.build.hosted.workflow(run.workflow_type, run.started.version)
                assert code is not None, f"the last build hosts {run}"
                rebuilt = code.rebuild(run.workflow_id, run.run_id, run.records, strict_inputs=False)
            except NonDeterminism as error:
                raise Violation("D (replay)", f"{run}: {error}") from error
            rebuilt.execution.close()


def _scenarios_succeeded(world: World) -> None:
    if any(world.pending):
        waiting = [
            scenario.workflow_id for scenario, moves in zip(world.scenarios, world.pending, strict=True) if moves
        ]
        raise Violation("L (liveness)", f"clients still wait to continue with {waiting}")
    for scenario in world.scenarios:
        problem = scenario.verdict(world.auditor)
        if problem:
            raise Violation("A (once)", problem)


def _all_were_answered(world: World) -> None:
    """Each command with `reply_to` was answered as often as it was published; accepted signals took effect once."""
    for message_id, published in world.client.asked.items():
        answers = world.auditor.replies.get(message_id, [])
        command = published[0]
        expected = len(published) if command.reply_to >= 0 else 0
        if isinstance(command, UpdateWorkflow) or getattr(command, "update", ""):
            runs = world.auditor.runs.get(command.workflow_id, [])
            problem = updates.judge(command, published, answers, runs)
            problem = problem or updates.judge_callers(published, world.auditor.replied.get(message_id, []))
            if problem:
                raise Violation("U (updates)", f"{message_id} ({command.update} of {command.workflow_id}): {problem}")
        elif isinstance(command, QueryWorkflow):
            if len(answers) > expected:  # reads.py says which may be left out
                raise Violation("Q (queries)", f"{command} was answered {len(answers)} times")
        elif isinstance(command, AwaitResult) or (expected and getattr(command, "await_result", False)):
            _answers_are_the_end(world, command, answers)
            least = 0 if _gave_up(world, command) else 1
            if not least <= len(answers) <= expected:
                raise Violation("A (once)", f"{message_id} ({command.workflow_id}) was answered {len(answers)} times")
        elif len(answers) != expected:
            raise Violation("A (once)", f"{command} was published {expected} times and answered {len(answers)} times")
        if isinstance(command, SignalWorkflow) or getattr(command, "signal", ""):
            _signal_came_once(world, message_id, answers)


def _answers_are_the_end(world: World, command: Any, answers: list[Any]) -> None:
    """Callers that await a result are answered with the end of the last run of its chain, or that it has expired."""
    for answer in answers:
        if isinstance(answer, Rejected) and answer.reason == "not_found" and world.weather.days:
            continue
        runs = [run for run in world.auditor.runs[command.workflow_id] if run.is_closed and not run.is_followed]
        ends = [(run.chain_id, run.status, getattr(run.events[-1], "result", b"")) for run in runs]
        if not isinstance(answer, RunClosed) or (answer.run_id, answer.status, answer.result) not in ends:
            raise Violation("A (once)", f"{command} was answered {answer}, and its chains ended with {ends}")


def _gave_up(world: World, command: Any) -> bool:
    """Whether the caller's time was over by the shard's clock when the run closed."""
    run_id, awaited = world.auditor.awaited.get(command.message_id, ("", None))
    runs = world.auditor.runs[command.workflow_id]
    chains = {run.chain_id for run in runs if run.run_id == run_id}
    closed_ms = [run.records[-1].now_ms for run in runs if run.chain_id in chains]
    return awaited is not None and awaited.until_ms < max(closed_ms, default=0)


_STOPS = {"cancel": CancelWorkflow, "terminate": TerminateWorkflow}


def _children_were_stopped(world: World) -> None:
    """A run that closed with pending children did with each what its `parent_close` says; by default it cancelled the
    child, or terminated it if it was terminated itself."""
    for runs in world.auditor.runs.values():
        for run in filter(lambda run: run.is_closed, runs):
            by_default = "terminate" if run.status in ("terminated", "reset") else "cancel"
            adopted = run.events[-1].last_sequence if run.status == "reset" else 0
            asked = {event.sequence: event.parent_close or by_default for event in run.of(ChildScheduled)}
            for sequence in run.children:
                expected = _STOPS.get(asked[sequence])
                if expected is None or sequence <= adopted:
                    continue
                request = (run.workflow_id, run.run_id, sequence)
                children = world.auditor.children
                child = children.get(request) or children[world.auditor.origins.of(request)]
                if (expected, child.workflow_id, child.message_id) not in world.auditor.stops:
                    raise Violation("T (transaction)", f"{run} closed without a {expected.__name__} to its {child}")


def _delays_were_kept(world: World) -> None:
    """Code begins as long after its start as its sender asked, and requests nothing before."""
    for message_id, published in world.client.asked.items():
        command = published[0] if published else None
        if not isinstance(command, StartWorkflow) or not command.start_delay_ms:
            continue
        for run in world.auditor.runs.get(command.workflow_id, []):
            begins_ms = run.timed[0][0] + command.start_delay_ms
            requested = [now_ms for now_ms, event in run.timed if type(event) is ActivityScheduled]
            was_cancelled = any(type(event) is CancelRequested for event in run.events)
            if run.run_id != message_id or was_cancelled or run.workflow_type == "sim_account":
                continue
            if run.started.begins_ms != begins_ms or min(requested, default=begins_ms) < begins_ms:
                raise Violation("C (timers)", f"{run} was to begin at {begins_ms}: {run.started} {requested}")


def _bounds_were_kept(world: World) -> None:
    """A run that is over its time had it, counted from the moment at which its code was to begin."""
    for message_id, published in world.client.asked.items():
        command = published[0] if published else None
        if not isinstance(command, StartWorkflow) or not (command.run_timeout_ms or command.execution_timeout_ms):
            continue
        runs = [run for run in world.auditor.runs.get(command.workflow_id, []) if run.chain_id == message_id]
        for run in runs:
            begun_ms, first_ms = _begun_ms(run), _begun_ms(runs[0])
            bounds = [begun_ms + command.run_timeout_ms] if command.run_timeout_ms else []
            bounds += [first_ms + command.execution_timeout_ms] if command.execution_timeout_ms else []
            if type(run.events[-1]) is WorkflowTimedOut and run.timed[-1][0] < min(bounds):
                raise Violation("C (timers)", f"{run} timed out at {run.timed[-1][0]}, and had until {min(bounds)}")


def _begun_ms(run: Run) -> int:
    return run.started.begins_ms or run.timed[0][0]


def _headers_arrived(world: World) -> None:
    """Each run started with the headers of its command, and a child with those of its parent."""
    started = {(run.workflow_id, run.run_id): run for runs in world.auditor.runs.values() for run in runs}
    for message_id, published in world.client.asked.items():
        run = started.get((published[0].workflow_id, message_id)) if published else None
        if run is not None and run.started.headers != published[0].headers:
            raise Violation("P (propagation)", f"{run} started with {run.started.headers}, not {published[0].headers}")
    for run in started.values():
        parent = started.get((run.started.parent_workflow_id, run.started.parent_run_id))
        if parent is not None and not parent.started.headers.items() <= run.started.headers.items():
            raise Violation("P (propagation)", f"{run} lacks headers of its parent {parent}")


def _signal_came_once(world: World, message_id: str, answers: list[Any]) -> None:
    times = sum(
        getattr(event, "message_id", "") == message_id and type(event).__name__ == "SignalReceived"
        for runs in world.auditor.runs.values()
        for run in runs
        for event in run.own
    )
    accepted = any(type(answer).__name__ == "Accepted" for answer in answers)
    if times > 1 or (accepted and times != 1):
        raise Violation("A (once)", f"signal {message_id} was received {times} times")


def _dead_letters_are_garbage(world: World) -> None:
    places = {(letter.topic, letter.partition, letter.offset) for letter in world.auditor.dead_letters}
    missing = [(place, what) for place, what in world.client.garbage.items() if place not in places]
    if missing:
        raise Violation("I (isolation)", f"never reached the dead letters: {missing}")
    for letter in world.auditor.dead_letters:
        if (letter.topic, letter.partition, letter.offset) in world.client.garbage:
            continue
        try:
            message_id = decode_command(letter.value).message_id
        except Undecodable:
            message_id = ""
        if message_id not in world.client.hopeless:
            raise Violation("I (isolation)", f"a good record became a dead letter: {letter}")
