"""Judgement of chains: each run that is to be followed has one run that follows it, with what goes along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from penstock.schemas.records.chain import WorkflowContinued
from penstock.schemas.records.run import CancelRequested
from penstock.schemas.records.signal import SignalReceived
from penstock.schemas.records.update import UpdateHeld, UpdateTaken
from penstock.schemas.values.retry import RetryPolicy
from tests.simulation.model import Facts, wanted
from tests.simulation.truth import Run

INHERITED = ("headers", "parent_workflow_id", "parent_run_id", "parent_sequence", "execution_until_ms", "retry")


def judge(runs: Iterable[Run]) -> str:
    """What is wrong with the chains of these runs, of one workflow id in their order; empty for nothing."""
    runs = list(runs)
    for run in runs:
        following = [other for other in runs if other is not run and run.is_followed_by(other)]
        if len(following) != run.is_followed:
            return f"{run} is {run.status}, and {len(following)} runs follow it"
        if following and following[0].fork is not None:
            continue  # interventions.py
        problem = _problem(run, following[0]) if following else _given_up_problem(run)
        if problem:
            return f"{following[0]} follows {run}: {problem}" if following else problem
    return ""


def _problem(run: Run, following: Run) -> str:
    """What is wrong with the start of a run that follows another."""
    before, after, end = run.started, following.started, run.events[-1]
    for field in INHERITED:
        if getattr(after, field) != getattr(before, field):
            return f"it has {field} {getattr(after, field)}, not {getattr(before, field)}"
    if following.chain_id != run.chain_id or after.chain_length != before.chain_length + 1:
        return f"it is number {after.chain_length} of the chain {following.chain_id}"
    if not isinstance(end, WorkflowContinued):
        return _retry_problem(run, following) or _carried_problem(run, following)
    if after.retries or after.begins_ms != run.timed[-1][0]:
        return f"it begins at {after.begins_ms} as retry {after.retries}"
    if (after.workflow_type, after.input) != (end.workflow_type, end.input):
        return f"it is {after.workflow_type} with {after.input!r}, not {end.workflow_type} with {end.input!r}"
    return _carried_problem(run, following)


def _retry_problem(run: Run, following: Run) -> str:
    """What is wrong with the start of a run that tries a failed one again."""
    before, after = run.started, following.started
    if (after.workflow_type, after.input, after.retries) != (before.workflow_type, before.input, before.retries + 1):
        return f"it is retry {after.retries} of {after.workflow_type} with {after.input!r}"
    begins_ms = run.timed[-1][0] + _delay_ms(before.retry, after.retries)
    if after.retries > before.retry.retries_max >= 0 or after.begins_ms != begins_ms:
        return f"retry {after.retries} of {before.retry} begins at {after.begins_ms}, not at {begins_ms}"
    return ""


def _delay_ms(policy: RetryPolicy, retry: int) -> int:
    """The listed delays, then the last one again and again: policies here do not grow."""
    return policy.delays_ms[min(retry, len(policy.delays_ms)) - 1]


def _given_up_problem(run: Run) -> str:
    """Why a run that failed should have been tried again; empty if it should not."""
    policy, retry = run.started.retry, run.started.retries + 1
    if run.status != "failed" or policy is None or run.of(CancelRequested) or run.events[-1].failure.non_retryable:
        return ""
    until_ms = run.started.execution_until_ms
    if until_ms and until_ms <= run.timed[-1][0] + _delay_ms(policy, retry):
        return ""
    return "" if 0 <= policy.retries_max < retry else f"{run} failed with retries left, and no run follows it"


def _carried_problem(run: Run, following: Run) -> str:
    """Signals that the code had not read, and updates without a handler, go along."""
    carried = [event.input for event in following.of(SignalReceived) if not event.message_id]
    unread = _unread(run)
    if carried != unread:
        return f"the signals {carried} went along, not {unread}"
    return _held_problem(run, following)


def _held_problem(run: Run, following: Run) -> str:
    """Updates for which a run had no handler are held by the one that continues it, and by no other."""
    taken = {event.message_id for event in run.of(UpdateTaken)}
    is_continued = run.status == "continued"
    before = [_what(event) for event in run.of(UpdateHeld)]
    held = [which for which in before if which[0] not in taken and is_continued]
    went_along = [_what(event) for event in following.of(UpdateHeld) if _what(event) in before]
    return "" if went_along == held else f"the updates {went_along} went along, not {held}"


def _what(event: UpdateHeld) -> tuple[str, str, bytes, int]:
    """What stays the same of a held update, whatever its caller waits for."""
    return event.message_id, event.update, event.input, event.until_ms


def _unread(run: Run) -> Sequence[bytes]:
    """Signals that a run had received and its code had not read."""
    received = [event.input for event in run.of(SignalReceived)]
    return received[wanted(Facts(run)).read :]
