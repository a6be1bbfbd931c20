"""How an error of the code becomes the failure of its run."""

from __future__ import annotations

import msgspec

from penstock.engine.core.execution import CodeError
from penstock.engine.execution.bugs import code_error
from penstock.schemas.errors import ActivityFailedError, ChildWorkflowFailed, PayloadTooLarge, WorkflowFailedError
from penstock.schemas.failure import Failure
from penstock.schemas.values.failure import bounded, failure_of
from penstock.schemas.values.payload import check_size


def run_failure(error: BaseException) -> Failure:
    """Failure of the run; the message of a failed activity or child stays readable."""
    failure = failure_of(error)
    if isinstance(error, ActivityFailedError | ChildWorkflowFailed) and error.failure is not None:
        return msgspec.structs.replace(failure, message=f"{error} ({error.type})" if error.type else str(error))
    if isinstance(error, WorkflowFailedError) and error.failure is not None:
        return bounded(error.failure)
    return failure


def oversized(result: bytes, name: str) -> CodeError:
    """The report of a result of that workflow which is over the limit of payloads."""
    try:
        check_size(result, what=f"the result of {name}")
    except PayloadTooLarge as error:
        return code_error(error)
    raise AssertionError("it is over the limit")


def going_back(message: str, raised_at: int) -> str:
    """The message of a failure by a bug that an earlier decision raised."""
    return (
        f"{message} (raised in the decision of event {raised_at} of the history, to which mended code would have to go "
        "back: the code awaited something before the error left it)"
    )
