"""Where a failed run goes on when it is retried: before the step that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from penstock.engine.core.past import PastDecision
from penstock.schemas.records.activity import ActivityFailed, ActivityScheduled
from penstock.schemas.records.child import ChildFailed, ChildScheduled
from penstock.schemas.records.run import HistoryExceeded, WorkflowFailed, WorkflowTimedOut


class Step(NamedTuple):
    """The cut, and the request behind it that is made again (0: none, its code is repeated)."""

    cut: int
    again: int = 0


class CannotRetry(Exception):
    """The run cannot be retried. Its text is the refusal."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Failed(NamedTuple):
    """A failed activity or child: the index of its decision, its number in the history, and its event."""

    decision: int
    number: int
    event: Any


def failed_step(workflow_id: str, past: Sequence[PastDecision], *, force: bool) -> Step:
    """Where a run with this history is retried. Raises CannotRetry.

    That is before the last activity or child that failed, if the code requested nothing since, or if its failure is the
    run's; else before the decision that ended the run. `force`: also if the code went on after that failure."""
    end = past[-1].events[-1]
    if isinstance(end, HistoryExceeded):
        message = f"the history of {workflow_id} had no more room: reset it to an event that is well before its end."
        raise CannotRetry("history_too_long", message)
    if not isinstance(end, WorkflowFailed | WorkflowTimedOut):
        message = (
            f"{workflow_id} has not failed, and only a failed run can be retried; a BLOCKED one is unblocked, and any "
            "run can be reset to an event of its history."
        )
        raise CannotRetry("not_failed", message)
    before_last = Step(past[-2].last if len(past) > 1 else 0)
    failed = _last_failure(past)
    if failed is None or not isinstance(end, WorkflowFailed):
        return before_last
    followed = _requests_after(past, failed)
    if followed and not _caused(failed.event, end):
        return before_last
    if followed and not force:
        raise CannotRetry("compensated", _refusal(workflow_id, past, failed, followed))
    return Step(past[failed.decision - 1].last, failed.event.sequence)


def _last_failure(past: Sequence[PastDecision]) -> _Failed | None:
    for index in range(len(past) - 1, 0, -1):
        for offset, event in reversed(list(enumerate(past[index].events))):
            if isinstance(event, ActivityFailed | ChildFailed):
                return _Failed(index, past[index].first + offset, event)
    return None


def _requests_after(past: Sequence[PastDecision], failed: _Failed) -> list[Any]:
    """Activities and children that the code requested since."""
    events = [event for decision in past[failed.decision :] for event in decision.events]
    return [event for event in events if isinstance(event, ActivityScheduled | ChildScheduled)]


def _caused(failed: ActivityFailed | ChildFailed, end: WorkflowFailed) -> bool:
    """Whether the run failed by the failure of that step, which its own begins with or names as a cause."""
    messages = [end.failure.message, *(cause.message for cause in end.failure.causes)]
    return any(message.startswith(failed.failure.message) for message in messages)


def _refusal(workflow_id: str, past: Sequence[PastDecision], failed: _Failed, followed: Sequence[Any]) -> str:
    names = {
        event.sequence: event.activity if isinstance(event, ActivityScheduled) else f"child {event.workflow_id}"
        for decision in past
        for event in decision.events
        if isinstance(event, ActivityScheduled | ChildScheduled)
    }
    others = ", ".join(names[event.sequence] for event in followed[:3]) + (", …" if len(followed) > 3 else "")
    return (
        f"{workflow_id} went on after {names.get(failed.event.sequence, 'a step')} had failed (event {failed.number}): "
        f"it requested {others}, which may have undone what came before; retry it with force if it should go on from "
        "there all the same."
    )
