"""Records of resets: a run goes on from an earlier point of its history, in a new run of its id."""

from __future__ import annotations

from penstock.schemas.records.kinds import Command, Event


class ResetWorkflow(Command, frozen=True, gc=False, kw_only=True):
    """Let a run go on from an earlier point of its history, in a new run of its id. Empty `run_id`: the current run.

    `to_event`: number of the last event to keep; the cut is at the end of a decision, that one or the one before.
    `base_run_id`: a closed run of the id whose history is taken, if it is not the current one. `by`, `reason`: who asks
    for it, and why."""

    to_event: int
    run_id: str = ""
    base_run_id: str = ""
    by: str = ""
    reason: str = ""


class RetryWorkflow(Command, frozen=True, gc=False, kw_only=True):
    """Let a failed run go on from before the step that failed, in a new run of its id. Empty `run_id`: the current run.

    `force`: also if the code went on after the failure, as compensation does. `by`, `reason`: who asks for it, and
    why."""

    run_id: str = ""
    force: bool = False
    by: str = ""
    reason: str = ""


class WorkflowReset(Event, frozen=True, gc=False, kw_only=True):
    """The run ended, and the run `next_run_id` goes on from the event `to_event` of its history.

    `last_sequence`: requests up to that number, if they are open, go over to that run."""

    next_run_id: str
    to_event: int
    last_sequence: int
    by: str = ""
    reason: str = ""


class WorkflowForked(Event, frozen=True, gc=False, kw_only=True):
    """The run `run_id` goes on from the event `to_event` of the run `base_run_id`, whose history it shares.

    `to_event` is 0 for one that begins anew, after WorkflowStarted. `seed` replaces the one before for what follows.
    What follows this event in the same decision arrived after the cut, and is received again. `first_run_id`,
    `chain_length`, `parent_run_id`, `execution_until_ms`: as in WorkflowStarted."""

    run_id: str
    base_run_id: str
    to_event: int
    seed: str
    first_run_id: str
    chain_length: int = 0
    parent_run_id: str = ""
    execution_until_ms: int = 0
    by: str = ""
    reason: str = ""
