"""Activation of a run's code by the inputs that reached it."""

from __future__ import annotations

from penstock.engine.core.execution import ActivationOverran, CodeWithheld
from penstock.engine.core.rows import RunRow
from penstock.engine.core.statuses import BLOCKED
from penstock.engine.core.view import RunView
from penstock.schemas.errors import NonDeterminism, UnknownWorkflowType
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.run import WorkflowBlocked

KILLS_PROCESSOR = "kills_processor"
"""Reason of a run whose input ended processors, one after the other."""

RUNS_ON = "runs_on"
"""Reason of a run whose code did not come to a wait in time."""

PROBLEMS = (NonDeterminism, UnknownWorkflowType, CodeWithheld, ActivationOverran)
"""What keeps a run's code from going on."""

_RUNS_ON = (
    "; move long work into an activity, or let the loop await something, restart the processors, then run "
    "`penstock retry`."
)

_KILLS_PROCESSOR = (
    "processors ended, one after the other, while they decided an input of this run: its code, or a library in C that "
    "it calls, ends the process, or was ended for running on; mend it, restart the processors, then run "
    "`penstock retry`."
)


def activated(run: RunView, row: RunRow, inputs: list[Event], now_ms: int) -> list[Event]:
    """The inputs, followed by the requests of the code that receives them. A BLOCKED run's code receives nothing."""
    if row.status == BLOCKED:
        return inputs
    try:
        return [*inputs, *run.execution().activate(inputs, now_ms)]
    except PROBLEMS as error:
        return [*inputs, blocked_by(error)]


def blocked_by(error: BaseException) -> WorkflowBlocked:
    """The event for a run whose code cannot be brought to the end of its history, or must not be."""
    if isinstance(error, CodeWithheld):
        return WorkflowBlocked(reason=KILLS_PROCESSOR, message=_KILLS_PROCESSOR)
    if isinstance(error, ActivationOverran):
        return WorkflowBlocked(reason=RUNS_ON, message=f"{error}{_RUNS_ON}")
    if isinstance(error, UnknownWorkflowType):
        return WorkflowBlocked(reason=error.reason, message=str(error))
    return WorkflowBlocked(
        reason="non_determinism",
        message=f"the code no longer does what the history says: {error}; restore the old code or guard the change "
        "with patched(), then restart the processor or run `penstock retry`.",
    )
