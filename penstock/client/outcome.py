"""What does an answer mean to who asked? A result, or the error that a run's end or a refusal stands for."""

from __future__ import annotations

from typing import TypeVar

from penstock.schemas.errors import (
    BadInput,
    CommandRejected,
    UnknownWorkflowType,
    WorkflowAlreadyClosed,
    WorkflowAlreadyExists,
    WorkflowCancelled,
    WorkflowError,
    WorkflowFailed,
    WorkflowNotFound,
    WorkflowTerminated,
)
from penstock.schemas.records.replies import Rejected, RunClosed
from penstock.schemas.values.failure import Failure
from penstock.schemas.values.payload import Adapter

R = TypeVar("R")

_REFUSALS: dict[str, type[CommandRejected]] = {
    "already_exists": WorkflowAlreadyExists,
    "not_found": WorkflowNotFound,
    "already_closed": WorkflowAlreadyClosed,
    "unknown_type": UnknownWorkflowType,
}
_ENDS: dict[str, type[WorkflowFailed | WorkflowCancelled | WorkflowTerminated]] = {
    "failed": WorkflowFailed,
    "cancelled": WorkflowCancelled,
    "terminated": WorkflowTerminated,
}


def result_of(closed: RunClosed, returns: Adapter[R]) -> R:
    """The run's result, or its end raised as an error. Raises WorkflowError, BadInput (it does not fit the type)."""
    if closed.status == "completed":
        return returns.decode(closed.result, f"The result of {closed.workflow_id}")
    raise error_of(closed)


def error_of(closed: RunClosed) -> WorkflowError:
    """The error that a run's end means to who awaits its result; its text tells the whole chain of causes."""
    ended = f"{closed.workflow_id} {'was ' if closed.status != 'failed' else ''}{closed.status}"
    told = failure_text(closed.failure)
    return _ENDS.get(closed.status, WorkflowFailed)(f"{ended}: {told}" if told else ended, failure=closed.failure)


def failure_text(failure: Failure | None) -> str:
    """`CardDeclined: no funds, caused by HTTPError: 402`, on one line; empty for no failure."""
    if failure is None:
        return ""
    links = [(failure.type, failure.message), *((cause.type, cause.message) for cause in failure.causes)]
    told = next((at for at, link in enumerate(links, 1) if _short(link[0]) == BadInput.__name__), None)
    links = links[:told]  # a BadInput repeats what its cause says, in better words
    kept = [link for link, following in zip(links, [*links[1:], None], strict=True) if not _hollow(link, following)]
    # The end of a run may say nothing more ("was cancelled"), but "caused by" needs a word after it.
    return ", caused by ".join([_named(*kept[0]), *(_named(*cause) or _short(cause[0]) for cause in kept[1:])])


def refusal_of(rejected: Rejected) -> CommandRejected:
    """The error that a refusal stands for."""
    kind = _REFUSALS.get(rejected.reason, CommandRejected)
    return kind(rejected.message, reason=rejected.reason, run_id=rejected.run_id)


def _hollow(link: tuple[str, str], following: tuple[str, str] | None) -> bool:
    """Whether a link only wraps the next one: ActivityFailed repeats what the activity said."""
    wraps = _short(link[0]) in {"ActivityFailed", "ChildWorkflowFailed"}
    return wraps and following is not None and following[1] in link[1]


def _named(type_name: str, message: str) -> str:
    # `raise WorkflowFailed("rejected by ann")` and cancellation say all in their message: the class adds nothing.
    short = _short(type_name)
    if short in {"", "WorkflowFailed", "WorkflowCancelled", "WorkflowTerminated", "CancelledError"}:
        return message
    return f"{short}: {message}" if message else short


def _short(type_name: str) -> str:
    return type_name.rpartition(".")[2]
