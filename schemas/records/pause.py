"""Records of pauses: an operator halts a run, and lets it go on."""

from __future__ import annotations

from penstock.schemas.records.kinds import Command, Event


class PauseWorkflow(Command, frozen=True, gc=False, kw_only=True):
    """Halt a run: its code receives nothing and no attempt of an activity begins until it is resumed; what comes is
    recorded. Empty `run_id`: the current run.

    `by`, `reason`: who asks for it, and why."""

    run_id: str = ""
    by: str = ""
    reason: str = ""


class ResumeWorkflow(Command, frozen=True, gc=False, kw_only=True):
    """Let a paused run go on: it receives what was recorded, in order. Empty `run_id`: the current run.

    `by`, `reason`: who asks for it, and why."""

    run_id: str = ""
    by: str = ""
    reason: str = ""


class WorkflowPaused(Event, frozen=True, gc=False, kw_only=True):
    """The run is paused: inputs, due timers among them, are recorded, and no attempt of an activity begins."""

    by: str = ""
    reason: str = ""


class WorkflowResumed(Event, frozen=True, gc=False, kw_only=True):
    """The run goes on; inputs recorded while it was paused reach its code now, in order."""

    by: str = ""
    reason: str = ""
