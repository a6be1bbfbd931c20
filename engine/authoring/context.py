"""What workflow code may ask of its run: time, randomness, identity, recorded side effects."""

from __future__ import annotations

import asyncio
import contextvars
import random as random_module
import uuid as uuid_module
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from penstock.engine.core.limits import HISTORY_LONG
from penstock.engine.execution.loop import WorkflowLoop, ends_first
from penstock.engine.execution.program import Program
from penstock.schemas.errors import NotInWorkflow
from penstock.schemas.ids import SCHEDULE_PREFIX
from penstock.schemas.records.run import WorkflowStarted
from penstock.schemas.values.attributes import decode_memo, read_search
from penstock.schemas.values.payload import check_size

T = TypeVar("T")


def current(what: str, *, changes_nothing: bool = False) -> Program:
    """The execution of the running workflow. `what`: the caller, as errors name it.

    Raises NotInWorkflow; within a side effect's function NonDeterministicCall, unless the caller `changes_nothing`."""
    loop = asyncio._get_running_loop()
    if not isinstance(loop, WorkflowLoop):
        raise NotInWorkflow(f"{what} works only inside a workflow.")
    program = loop.owner
    assert isinstance(program, Program), "a workflow's loop belongs to a Program"
    if not changes_nothing:
        program.refuse_within_side_effect(what)
    return program


def leaves_undone(error: BaseException) -> bool:
    """Whether a saga that ends with `error` undoes nothing: a bug blocks its run, and mended code goes on."""
    loop = asyncio._get_running_loop()
    return isinstance(loop, WorkflowLoop) and current("Saga", changes_nothing=True).leaves_undone(error)


def ending_first() -> contextvars.Context:
    """A context for tasks whose cancellation reaches them when the activities and children that they await have ended:
    the running attempt, since no other follows."""
    context = contextvars.copy_context()
    context.run(ends_first.set, True)
    return context


def now() -> datetime:
    """The workflow's time (aware, UTC): when the current decision was made. The same on replay."""
    return datetime.fromtimestamp(current("now()", changes_nothing=True).loop.now_ms / 1000, UTC)


def random() -> random_module.Random:
    """The run's own random numbers. The same on replay."""
    return current("random()").random


def uuid4() -> uuid_module.UUID:
    """A random UUID from the run's own random numbers. The same on replay."""
    return uuid_module.UUID(int=current("uuid4()").random.getrandbits(128), version=4)


class Info(msgspec.Struct, frozen=True):
    """The running workflow.

    `version`: that of the code when the run started. `started`: aware, UTC. `replaying`: whether a decision of the past
    is being repeated. `parent_workflow_id`: empty without a parent. `headers`: from the client or the parent.
    `history_length`: events that the code received or asked for so far. `chain_length`: number of runs of its chain
    before this one. `continue_as_new_suggested`: its history is so long that replay takes noticeable time. `memo`,
    `search`: what its start gave it, with the changes of `set_search`. `scheduled_at`: the tick (aware, UTC) for which
    a schedule started it, before jitter and delays; None if none did."""

    workflow_id: str
    run_id: str
    workflow_type: str
    version: int
    started: datetime
    replaying: bool
    parent_workflow_id: str
    headers: dict[str, str]
    history_length: int
    chain_length: int
    continue_as_new_suggested: bool
    memo: dict[str, Any]
    search: dict[str, Any]
    scheduled_at: datetime | None = None


def info() -> Info:
    """Identity, version, start, headers, memo and search attributes of the running workflow."""
    program = current("info()", changes_nothing=True)
    started = program.started
    return Info(
        workflow_id=program.workflow_id,
        run_id=program.run_id,
        workflow_type=program.definition.name,
        version=started.version if started else program.definition.version,
        started=datetime.fromtimestamp(program.started_ms / 1000, UTC),
        replaying=program.replaying,
        parent_workflow_id=started.parent_workflow_id if started else "",
        headers=dict(started.headers) if started else {},
        history_length=program.history_length,
        chain_length=started.chain_length if started else 0,
        continue_as_new_suggested=program.history_length >= HISTORY_LONG,
        memo=decode_memo(started.memo) if started else {},
        search=read_search(program.notes.search),
        scheduled_at=_tick_of(started) if started else None,
    )


def _tick_of(started: WorkflowStarted) -> datetime | None:
    if not started.parent_workflow_id.startswith(SCHEDULE_PREFIX):
        return None
    return datetime.fromtimestamp(started.parent_sequence / 1000, UTC)


def side_effect(fn: Callable[[], T]) -> T:
    """Run a short function once and keep its value (plain JSON) in the history.

    Raises WorkflowFailedError, which names the error, if `fn` raised or its value is too large; both are recorded."""
    program = current("side_effect()")

    def run() -> bytes:
        value = msgspec.json.encode(fn())
        check_size(value, what="side_effect()")
        return value

    value: T = msgspec.json.decode(program.recorded_value(run))
    return value
