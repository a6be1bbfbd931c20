"""Decision of an input: what a command, a result or a due timer causes in its run."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.engine.core.answers import chain_id
from penstock.engine.core.catalogue import INPUTS
from penstock.engine.core.decision import Decision
from penstock.engine.core.limits import REASON_CHARS_MAX
from penstock.engine.core.long_history import bounded_history
from penstock.engine.core.machines.chain import followed
from penstock.engine.core.view import RunView
from penstock.schemas.class_names import class_name
from penstock.schemas.errors import PayloadTooLarge
from penstock.schemas.failure import Failure
from penstock.schemas.records.chain import WorkflowContinued
from penstock.schemas.records.child import ResolveChild
from penstock.schemas.records.run import WorkflowFailed, WorkflowTimedOut
from penstock.schemas.records.tasks import TaskCompleted, TaskFailed

TOO_LARGE = "It is too large to be kept in a history; hand over a reference to large data instead."

_FOLLOWED = frozenset({WorkflowContinued, WorkflowFailed, WorkflowTimedOut})
"""Events after which a chain may go on."""

DECIDERS = {kind: rule.decide for kind, rule in INPUTS.items()}


def decide(run: RunView, input: Any, now_ms: int) -> Decision:
    """What `input` causes in `run` at `now_ms` (epoch): the same for the same rows, input and time.

    Changes nothing but the run's execution, which is a cache of its history."""
    decision = DECIDERS[type(input)](run, input, now_ms)
    while decision.events and type(decision.events[-1]) in _FOLLOWED:
        before, decision = decision, followed(run, decision, now_ms)
        if decision is before:
            break
    row = run.row
    if row is not None and row.next_number + len(decision.events) > run.hosted.history_max:
        decision = bounded_history(run, row, input, decision)
    if decision.rejection is not None and run.row is not None and decision.rejection.run_id == run.row.run_id:
        rejection = msgspec.structs.replace(decision.rejection, run_id=chain_id(run.row))
        decision = msgspec.structs.replace(decision, rejection=rejection)
    return decision if len(decision.ignored) <= REASON_CHARS_MAX else _shortened(decision)


def _shortened(decision: Decision) -> Decision:
    """The decision with a bounded refusal: it may quote an input of any size."""
    rejection = decision.rejection
    if rejection is not None:
        rejection = msgspec.structs.replace(rejection, message=f"{rejection.message[:REASON_CHARS_MAX]}…")
    return msgspec.structs.replace(decision, ignored=f"{decision.ignored[:REASON_CHARS_MAX]}…", rejection=rejection)


def substitute(input: Any) -> Any:
    """The failure that takes the place of an outcome too large for a history; None if the input carries no outcome."""
    match input:
        case ResolveChild():
            failure = Failure(type="too_large", message=TOO_LARGE)
            smaller = msgspec.structs.replace(input, status="failed", result=b"", failure=failure)
            return smaller if smaller != input else None
        case TaskCompleted():
            return _failed(input, Failure(type=class_name(PayloadTooLarge), message=TOO_LARGE, non_retryable=True))
        case TaskFailed():
            given = input.failure
            failed = _failed(
                input,
                Failure(
                    type=given.type[:200],
                    message=given.message[:2_000],
                    kind=given.kind[:20],
                    non_retryable=given.non_retryable,
                ),
            )
            return failed if failed != input else None
    return None


def _failed(result: TaskCompleted | TaskFailed, failure: Failure) -> TaskFailed:
    return TaskFailed(
        workflow_id=result.workflow_id,
        run_id=result.run_id,
        sequence=result.sequence,
        attempt=result.attempt,
        failure=failure,
        retry_after_ms=result.retry_after_ms if isinstance(result, TaskFailed) else 0,
    )
