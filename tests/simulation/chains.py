"""Judgement of chains: each run that is to be followed has one run that follows it, with what goes along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from penstock.schemas.records.chain import WorkflowContinued
from penstock.schemas.records.signal import SignalReceived
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
    return "" if carried == unread else f"the signals {carried} went along, not {unread}"


def _unread(run: Run) -> Sequence[bytes]:
    """Signals that a run had received and its code had not read."""
    received = [event.input for event in run.of(SignalReceived)]
    return received[wanted(Facts(run)).read :]
