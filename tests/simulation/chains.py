"""Judgement of chains: each run that is to be followed has one run that follows it, with what goes along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from penstock.schemas.records.chain import WorkflowContinued
from penstock.schemas.records.signal import SignalReceived
from penstock.schemas.records.update import UpdateHeld, UpdateTaken
from tests.simulation.model import Facts, wanted
from tests.simulation.truth import Run

INHERITED = ("headers", "parent_workflow_id", "parent_run_id", "parent_sequence", "execution_until_ms", "retry")


def judge(runs: Iterable[Run]) -> str:
    """What is wrong with the chains of these runs, of one workflow id in their order; empty for nothing."""
    runs = list(runs)
    for run in runs:
        following = [other for other in runs if other.started.previous_run_id == run.run_id]
        if len(following) != run.is_followed:
            return f"{run} is {run.status}, and {len(following)} runs follow it"
        problem = _problem(run, following[0]) if following else ""
        if problem:
            return f"{following[0]} follows {run}: {problem}"
    return ""


def _problem(run: Run, following: Run) -> str:
    """What is wrong with the start of a run that follows another."""
    before, after, end = run.started, following.started, run.events[-1]
    for field in INHERITED:
        if getattr(after, field) != getattr(before, field):
            return f"it has {field} {getattr(after, field)}, not {getattr(before, field)}"
    if following.chain_id != run.chain_id or after.chain_length != before.chain_length + 1:
        return f"it is number {after.chain_length} of the chain {following.chain_id}"
    if isinstance(end, WorkflowContinued) and (after.workflow_type, after.input) != (end.workflow_type, end.input):
        return f"it is {after.workflow_type} with {after.input!r}, not {end.workflow_type} with {end.input!r}"
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
