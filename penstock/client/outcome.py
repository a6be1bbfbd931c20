"""Replies as results and errors: the outcome of a run, the error of a refusal."""

from __future__ import annotations

from typing import TypeVar

from penstock.schemas.errors import (
    ActivityNotPending,
    BadInput,
    CommandRejected,
    QueryFailedError,
    UnknownQuery,
    UnknownUpdate,
    UnknownWorkflowType,
    UpdateFailedError,
    UpdateRejected,
    WorkflowAlreadyClosed,
    WorkflowAlreadyExists,
    WorkflowCancelledError,
    WorkflowError,
    WorkflowFailedError,
    WorkflowNotFound,
    WorkflowTerminatedError,
)
from penstock.schemas.failure import Failure
from penstock.schemas.records.replies import QueryAnswered, Rejected, RunClosed, UpdateClosed
from penstock.schemas.values.payload import Adapter

R = TypeVar("R")

_REFUSALS: dict[str, type[CommandRejected]] = {
    "already_exists": WorkflowAlreadyExists,
    "not_found": WorkflowNotFound,
    "already_closed": WorkflowAlreadyClosed,
    "unknown_type": UnknownWorkflowType,
    "unknown_query": UnknownQuery,
    "unknown_update": UnknownUpdate,
    "update_rejected": UpdateRejected,
    "not_pending": ActivityNotPending,
}
_ENDS: dict[str, type[WorkflowFailedError | WorkflowCancelledError | WorkflowTerminatedError]] = {
    "failed": WorkflowFailedError,
    "cancelled": WorkflowCancelledError,
    "terminated": WorkflowTerminatedError,
}


def result_of(closed: RunClosed, returns: Adapter[R]) -> R:
    """Return the run's result. Raises WorkflowError (another outcome), BadInput (the result does not fit the type)."""
    if closed.status == "completed":
        return returns.decode(closed.result, f"The result of {closed.workflow_id}")
    raise error_of(closed)


def error_of(closed: RunClosed) -> WorkflowError:
    """Return the error for a run that has no result; its message has the whole chain of causes."""
    ended = f"{closed.workflow_id} {'was ' if closed.status != 'failed' else ''}{closed.status}"
    cause = failure_text(closed.failure)
    kind = _ENDS.get(closed.status, WorkflowFailedError)
    return kind(f"{ended}: {cause}" if cause else ended, failure=closed.failure)


def answer_of(reply: QueryAnswered | UpdateClosed, what: str) -> bytes:
    """Return what a handler answered (JSON). Raises QueryFailedError, UpdateFailedError, about `what`."""
    if reply.failure is None:
        return reply.result
    kind = QueryFailedError if isinstance(reply, QueryAnswered) else UpdateFailedError
    raise kind(f"{what} failed: {failure_text(reply.failure)}", failure=reply.failure)


def failure_text(failure: Failure | None) -> str:
    """Format a failure on one line: `CardDeclined: no funds, caused by HTTPError: 402`; empty for None."""
    if failure is None:
        return ""
    links = [(failure.type, failure.message), *((cause.type, cause.message) for cause in failure.causes)]
    end = next((at for at, link in enumerate(links, 1) if _short(link[0]) == BadInput.__name__), None)
    links = links[:end]  # the message of a BadInput includes that of its cause
    kept = [link for link, following in zip(links, [*links[1:], None], strict=True) if not _wraps(link, following)]
    # The first link may be empty ("order-1 was cancelled"), but "caused by" needs a word after it.
    return ", caused by ".join([_named(*kept[0]), *(_named(*cause) or _short(cause[0]) for cause in kept[1:])])


def refusal_of(rejected: Rejected) -> CommandRejected:
    """Return the error for a refused command."""
    kind = _REFUSALS.get(rejected.reason, CommandRejected)
    return kind(rejected.message, reason=rejected.reason, run_id=rejected.run_id)


def _wraps(link: tuple[str, str], following: tuple[str, str] | None) -> bool:
    """Return whether a link only repeats the next one, as ActivityFailedError repeats the activity's error."""
    wrapper = _short(link[0]) in {"ActivityFailedError", "ChildWorkflowFailed"}
    return wrapper and following is not None and following[1] in link[1]


def _named(type_name: str, message: str) -> str:
    # The class of `raise WorkflowFailedError("rejected by ann")` and of a cancellation adds nothing to the message.
    short = _short(type_name)
    if short in {"", "WorkflowFailedError", "WorkflowCancelledError", "WorkflowTerminatedError", "CancelledError"}:
        return message
    return f"{short}: {message}" if message else short


def _short(type_name: str) -> str:
    return type_name.rpartition(".")[2]
