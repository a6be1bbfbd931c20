"""Activation of a run's code by the inputs that reached it."""

from __future__ import annotations

from penstock.engine.core.execution import ActivationOverran, CodeError, CodeWithheld, OtherPython
from penstock.engine.core.hosted import WITHOUT_CODE
from penstock.engine.core.rows import RunRow
from penstock.engine.core.statuses import RUNNING
from penstock.engine.core.view import RunView
from penstock.schemas.class_names import class_name
from penstock.schemas.errors import BadInput, NonDeterminism, UnknownWorkflowType
from penstock.schemas.failure import Failure
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.run import WorkflowBlocked, WorkflowFailed, WorkflowStarted

KILLS_PROCESSOR = "kills_processor"
"""Reason of a run whose input ended processors, one after the other."""

RUNS_ON = "runs_on"
"""Reason of a run whose code did not come to a wait in time."""

PROBLEMS = (NonDeterminism, UnknownWorkflowType, CodeWithheld, ActivationOverran, CodeError)
"""What keeps a run's code from going on."""

_RUNS_ON = (
    "; move long work into an activity, or let the loop await something, restart the processors, then run "
    "`penstock unblock`."
)

_KILLS_PROCESSOR = (
    "processors ended, one after the other, while they decided an input of this run: its code, or a library in C that "
    "it calls, ends the process, or was ended for running on; mend it, restart the processors, then run "
    "`penstock unblock`."
)


_OTHER_PYTHON = (
    "; process such runs with the Python under which they began until they have closed, or, if the code was changed as "
    "well, restore it or guard the change with patched(); then restart the processor or run `penstock unblock`."
)

_CODE_ERROR = (
    "a bug in the workflow's code, whose requests since its last wait were dropped; mend the code, then restart the "
    "processors or run `penstock unblock`: "
)


def activated(run: RunView, row: RunRow, inputs: list[Event], now_ms: int) -> list[Event]:
    """The inputs, followed by the requests of the code that receives them. The code of a BLOCKED or paused run receives
    nothing."""
    if row.status != RUNNING:
        return inputs
    try:
        return [*inputs, *run.execution().activate(inputs, now_ms)]
    except PROBLEMS as problem:
        return [*inputs, *instead_of_requests(run, problem, inputs, now_ms)]


def instead_of_requests(run: RunView, problem: BaseException, inputs: list[Event] | None, now_ms: int) -> list[Event]:
    """What follows inputs if a problem keeps the code from going on. `inputs`: None for those that are unread.

    A problem blocks the run. For a bug the activation is first repeated by an execution that knows whether an earlier
    decision raised the error: mended code could not go back to before that, so the run fails."""
    run.forget()
    if isinstance(problem, CodeError):
        try:
            execution = run.execution(observed=True)
            return execution.activate(run.unread_inputs() if inputs is None else inputs, now_ms)
        except PROBLEMS as again:
            problem = again
            run.forget()
    return [blocked_by(problem)]


def released(run: RunView, row: RunRow, now_ms: int) -> list[Event]:
    """What follows when the inputs that a BLOCKED or paused run recorded reach its code."""
    try:
        execution, inputs = run.execution(), run.unread_inputs()
        if row.blocked_reason in WITHOUT_CODE and (refused := _refused_start(run, row, inputs)):
            return [refused]
        # The inputs may include the start itself, whose input today's code may refuse.
        return execution.activate(inputs, now_ms)
    except PROBLEMS as problem:
        return instead_of_requests(run, problem, None, now_ms)


def _refused_start(run: RunView, row: RunRow, inputs: list[Event]) -> WorkflowFailed | None:
    """The end of a run that was started where its type is not hosted, with an input that its type cannot take."""
    started, definition = inputs[0] if inputs else None, run.hosted.workflow(row.workflow_type, row.version)
    if not isinstance(started, WorkflowStarted) or definition is None:
        return None
    try:
        definition.check_input(started.input)
    except Exception as error:  # noqa: BLE001 - the user's own validators may raise anything
        message = f"{row.workflow_type} cannot take this input: {error}"
        return WorkflowFailed(failure=Failure(type=class_name(BadInput), message=message, non_retryable=True))
    return None


def blocked_by(error: BaseException) -> WorkflowBlocked:
    """The event for a run whose code cannot be brought to the end of its history or on from there, or must not be."""
    if isinstance(error, CodeWithheld):
        return WorkflowBlocked(reason=KILLS_PROCESSOR, message=_KILLS_PROCESSOR)
    if isinstance(error, ActivationOverran):
        return WorkflowBlocked(reason=RUNS_ON, message=f"{error}{_RUNS_ON}")
    if isinstance(error, UnknownWorkflowType):
        return WorkflowBlocked(reason=error.reason, message=str(error))
    if isinstance(error, CodeError):
        return WorkflowBlocked(reason="code_error", message=f"{_CODE_ERROR}{error}")
    if isinstance(error, OtherPython):
        return WorkflowBlocked(reason="non_determinism", message=f"{error}{_OTHER_PYTHON}")
    return WorkflowBlocked(
        reason="non_determinism",
        message=f"the code no longer does what the history says: {error}; restore the old code or guard the change "
        "with patched(), then restart the processor or run `penstock unblock`.",
    )
