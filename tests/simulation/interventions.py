"""Judgement of what operators do by hand: each intervention in a history is the one that an operator asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from penstock.schemas.encoding.codec import decode
from penstock.schemas.records.activity import (
    ActivityAdopted,
    ActivityChanged,
    ActivityCompleted,
    ActivitySkipped,
    ChangeActivity,
    SkipActivity,
)
from penstock.schemas.records.child import ChildAdopted
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.replies import Accepted
from penstock.schemas.records.reset import ResetWorkflow, RetryWorkflow, WorkflowReset
from penstock.schemas.records.signal import SignalReceived
from tests.simulation.truth import Run

Asked = Mapping[str, Sequence[Any]]
Answers = Mapping[str, Sequence[Any]]


def judge_skips(runs: Iterable[Run], asked: Asked, answers: Answers) -> str:
    """What is wrong with activities that were skipped; empty for nothing. `asked`, `answers`: by message id.

    Each skip has the result of its command and says who asked for it and why; an accepted one took effect once."""
    seen: Counter[str] = Counter()
    for run, record, event in _decided(runs, ActivitySkipped):
        message_id = record.trigger.message_id
        seen[message_id] += 1
        problem = _skip_problem(event, asked.get(message_id, ()))
        if problem:
            return f"{run}: {problem}"
    return _count_problem(SkipActivity, seen, asked, answers)


def judge_changes(runs: Iterable[Run], asked: Asked, answers: Answers) -> str:
    """What is wrong with activities whose options were changed; empty for nothing.

    Each change says who asked for it and why; one that was accepted took effect once."""
    seen: Counter[str] = Counter()
    for run, record, event in _decided(runs, ActivityChanged):
        message_id = record.trigger.message_id
        seen[message_id] += 1
        command = next(iter(asked.get(message_id, ())), None)
        given = command and (command.sequence, command.by, command.reason, command.now)
        if given != (event.sequence, event.by, event.reason, event.retry_ms > record.now_ms):
            return f"{run}: {event} does not say what was asked for: {command}"
    return _count_problem(ChangeActivity, seen, asked, answers)


def _decided(runs: Iterable[Run], kind: type) -> Iterator[tuple[Run, DecisionRecorded, Any]]:
    """The events of a kind with their decisions; a run that was reset received those up to the cut by its base."""
    for run in runs:
        forked = run.fork.record.decision if run.fork else 0
        for record in run.records:
            if record.decision > forked:
                yield from ((run, record, event) for event in map(decode, record.events) if isinstance(event, kind))


def _count_problem(kinds: Any, seen: Mapping[str, int], asked: Asked, answers: Answers) -> str:
    """A command of these types that took effect twice, or was accepted and did not; empty for none."""
    for message_id, published in asked.items():
        if published and isinstance(published[0], kinds):
            times = seen.get(message_id, 0)
            accepted = any(isinstance(answer, Accepted) for answer in answers.get(message_id, ()))
            if times > 1 or (accepted and not times):
                return f"{published[0]} took effect {times} times, and was accepted: {accepted}"
    return ""


def _skip_problem(event: ActivitySkipped, asked: Sequence[Any]) -> str:
    command = asked[0] if asked else None
    if not isinstance(command, SkipActivity):
        return f"{event} was not asked for"
    expected = (command.sequence, command.result, command.by, command.reason)
    found = (event.sequence, event.result, event.by, event.reason)
    return "" if found == expected else f"{event} does not say what was asked for: {command}"


def judge_forks(runs: Iterable[Run], asked: Asked, answers: Answers) -> str:
    """What is wrong with runs that were reset or retried; empty for nothing.

    Each goes on at the end of a decision, as its command says; what was open there is taken over or ends as it did; and
    what arrived later is received again. A command that was accepted took effect once."""
    seen: Counter[str] = Counter()
    for run in runs:
        if run.fork is not None:
            message_id = run.fork.record.trigger.message_id
            seen[message_id] += 1
            problem = _fork_problem(run, asked.get(message_id, ()))
            if problem:
                return f"{run}: {problem}"
    return _count_problem(ResetWorkflow | RetryWorkflow, seen, asked, answers)


def _fork_problem(run: Run, asked: Sequence[Any]) -> str:
    command, fork = asked[0] if asked else None, run.fork
    assert fork is not None
    if not isinstance(command, ResetWorkflow | RetryWorkflow):
        return f"{fork.event} was not asked for"
    ended = fork.base.events[-1]
    said = [fork.event, *([ended] if isinstance(ended, WorkflowReset) and fork.was_open else [])]
    if any((event.by, event.reason, event.to_event) != (command.by, command.reason, fork.kept) for event in said):
        return f"{said} do not say what was asked for: {command}, and {fork.kept} events are kept"
    return _cut_problem(run, command) or _open_problem(run) or _again_problem(run)


def _cut_problem(run: Run, command: ResetWorkflow | RetryWorkflow) -> str:
    """A reset keeps all decisions up to its event; a retry of a failed run whatever had completed before."""
    fork = run.fork
    assert fork is not None
    before = [record for record in fork.base.records if record.decision < fork.record.decision]
    ends = {record.decision: record.first_sequence - 1 + len(record.events) for record in before}
    if isinstance(command, RetryWorkflow):
        done = [index for index, event in enumerate(fork.base.events) if isinstance(event, ActivityCompleted)]
        least = max(done, default=0) + 1
        return (
            "" if fork.kept >= least and fork.kept in ends.values() else f"{fork.event} keeps less than {least} events"
        )
    cut = max((end for end in ends.values() if end <= command.to_event), default=0)
    return "" if fork.kept == cut else f"{fork.event} keeps {fork.kept} events, and {command} means {cut}"


def _open_problem(run: Run) -> str:
    """What was open at the cut is taken over, or has ended by what is received again; attempts that run go on."""
    fork = run.fork
    assert fork is not None
    events = run.events[fork.kept : fork.until]
    adopted = [event.sequence for event in events if isinstance(event, ActivityAdopted)]
    ended = [event.sequence for event in events if type(event).__name__ in _ENDS and event.sequence in fork.activities]
    if sorted([*adopted, *ended]) != sorted(fork.activities):
        return f"of the activities {fork.activities}, {adopted} were taken over, and {ended} have ended"
    for event in events:
        if isinstance(event, ActivityAdopted) and fork.was_open:
            before = fork.base.activities[event.sequence]
            is_running = before.state == "open"
            if is_running == bool(event.retry_ms) and before.state in ("open", "waiting"):
                return f"{event} of an activity that is {before.state}"
    children = {event.sequence for event in events if isinstance(event, ChildAdopted)}
    gone = {event.sequence for event in events if type(event).__name__ in ("ChildCompleted", "ChildFailed")}
    return "" if children | gone == fork.children else f"of the children {fork.children}, {children} were taken over"


_ENDS = frozenset({"ActivityCompleted", "ActivityFailed", "ActivitySkipped"})


def _again_problem(run: Run) -> str:
    """Signals that arrived after the cut are received again, in their order."""
    fork = run.fork
    assert fork is not None
    base = [event for record in fork.base.records if record.decision <= fork.record.decision for event in record.events]
    late = [event.input for event in map(decode, base[fork.kept :]) if isinstance(event, SignalReceived)]
    again = [event.input for event in run.events[fork.kept : fork.until] if isinstance(event, SignalReceived)]
    return "" if late == again else f"the signals {again} were received again, not {late}"
