"""A state machine of the core as one value: its table, and what the engine does with each of its inputs and events."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from penstock.engine.core.decision import Decision
from penstock.engine.core.execution import Receiver
from penstock.engine.core.rows import KeptRow
from penstock.engine.core.view import RunView
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.completions import WorkflowClosed
from penstock.schemas.records.external import RecordPublished
from penstock.schemas.records.kinds import Command
from penstock.schemas.records.tasks import ActivityTask, AttemptsCancelled


class Cause(msgspec.Struct, frozen=True, gc=False):
    """When a decision was made (epoch), the id of the message that caused it (empty for none), and its append time."""

    now_ms: int
    message_id: str = ""
    appended_ms: int = 0


class Effects(msgspec.Struct, gc=False):
    """What leaves a shard. `commands` go to the shards of their workflow ids, `replies` to the partition they name,
    `given_up` to `dead-letters`, `cancelled` to `cancellations`, `published` to topics of users."""

    tasks: list[ActivityTask] = []
    commands: list[Command] = []
    replies: list[tuple[int, Any]] = []
    completions: list[WorkflowClosed] = []
    given_up: list[KeptRow] = []
    cancelled: tuple[AttemptsCancelled, ...] = ()
    published: list[RecordPublished] = []


Table = Mapping[tuple[str, type], str]
"""State and event to the next state."""


class InputRule(msgspec.Struct, frozen=True):
    """How an input (a command, a result, a due timer) is decided. Pure but for the run's execution, which is a cache.

    `deduplicates`: its message id is remembered, and a repetition has no effect."""

    decide: Callable[[RunView, Any, int], Decision]
    deduplicates: bool = False


def no_rows(run: WorkingRun, event: Any, cause: Cause) -> None:
    """Evolve function of an event that only the history keeps."""


class EventRule(msgspec.Struct, frozen=True):
    """What an event does.

    `evolve` changes the run's rows, live and on replay; it runs first. `effects` adds what leaves the shard (the
    last argument is the shard's number); it sees the run as `evolve` left it. `deliver` hands the event to the
    execution; without it, the execution does not notice the event.

    `is_request`: workflow code asked for it, so replay compares it with what the code asks again. `subject` is what
    must agree besides kind and sequence, `payload` the input that should. `group`, by default the subject, is what
    requests have in common that could receive each other's results. `is_note`: a request that only describes the run,
    so that a difference on replay is reported and blocks nothing; it has no sequence."""

    evolve: Callable[[WorkingRun, Any, Cause], None] = no_rows
    effects: Callable[[Effects, WorkingRun, Any, int], None] | None = None
    deliver: Callable[[Receiver, Any], None] | None = None
    is_request: bool = False
    subject: Callable[[Any], str] | None = None
    payload: Callable[[Any], bytes] | None = None
    group: Callable[[Any], str] | None = None
    is_note: bool = False


class Machine(msgspec.Struct, frozen=True):
    """Everything the engine knows of one kind of thing in a run."""

    name: str
    transitions: Table
    inputs: Mapping[type, InputRule]
    events: Mapping[type, EventRule]


def advance(table: Table, state: str, event: Any, of: str) -> str:
    """The state that follows. An event that the table does not allow there is a broken invariant."""
    try:
        return table[state, type(event)]
    except KeyError:
        name, sequence = type(event).__name__, getattr(event, "sequence", "")
        raise AssertionError(f"{name} {sequence} of {of} while {state}") from None


def seed_of(workflow_id: str, run_id: str, *, size: int = 8) -> str:
    """Seed of a run that is no fork (two hexadecimal digits a byte of `size`). Two ids started by one message id differ
    in it."""
    return hashlib.blake2b(f"{run_id}/{workflow_id}".encode(), digest_size=size).hexdigest()


def derived_id(run: WorkingRun, sequence: int, what: str) -> str:
    """Message id of what a run sends: the same whenever it is sent again (32 hexadecimal digits).

    It comes from the seed, which a fork of the run keeps, and from the workflow id, since two runs may share a message
    id that a foreign producer chose."""
    identity = f"{run.header.seed}/{sequence}/{what}/{run.workflow_id}"
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
