"""Which rows does a shard keep, and under which keys?

A key is a kind byte, the workflow id, NUL, the run id and an 8-byte sequence, so that everything of one run lies
together in the order it happened. Rows are private to the engine (MessagePack arrays, fields only ever appended);
history rows alone are public records: the bytes that stand on the topic `events`.
"""

from __future__ import annotations

import msgspec

from penstock.schemas.records.events import RetryPolicy
from penstock.schemas.values.failure import Failure

DAY_MS = 86_400_000

SHARD_KEY = b"S"

NEVER_MS = 1 << 62
"""Later than any due time."""


class ActivityRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """A pending activity. `retry_ms` is 0 while an attempt is with the workers, else when the next one starts."""

    sequence: int
    attempt: int
    activity: str
    input: bytes
    queue: str
    timeout_ms: int
    retry: RetryPolicy
    scheduled_ms: int
    retry_ms: int = 0
    failure: Failure | None = None


class Listening(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """What a run's code listens for, for those who look: signals by name and how many conditions it waits for, and
    which signals lie there that it has not read, with their numbers. A few names each."""

    awaited: tuple[str, ...] = ()
    conditions: int = 0
    unread: dict[str, int] = {}


class RunRow(msgspec.Struct, gc=False, array_like=True, kw_only=True):
    """The header of a workflow id's present run: the working copy that evolve.py alone changes.

    `at_hand`: pending activities that have no row of their own, by sequence (state.py says which). `listening` is None
    for a run that listens for nothing."""

    workflow_id: str
    run_id: str
    workflow_type: str
    version: int
    status: str
    next_number: int
    started_ms: int
    closed_ms: int = 0
    pending_activities: int = 0
    pending_timers: int = 0
    pending_children: int = 0
    awaiters: int = 0
    cancel_requested: bool = False
    parent_workflow_id: str = ""
    parent_run_id: str = ""
    parent_sequence: int = 0
    result: bytes = b""
    failure: Failure | None = None
    blocked_reason: str = ""
    blocked_message: str = ""
    reason: str = ""
    at_hand: dict[int, ActivityRow] = {}
    listening: Listening | None = None


class TimerRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """A pending timer of workflow code."""

    sequence: int
    due_ms: int


class ChildRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """A pending child workflow."""

    sequence: int
    workflow_type: str
    workflow_id: str


class ShardRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """How far the shard is: its last decision, its clock's floor, its last transaction, the next input offsets."""

    decision: int = 0
    now_ms: int = 0
    transaction: int = 0
    offsets: dict[str, int] = {}
    swept_day: int = 0


class DueKey(msgspec.Struct, frozen=True, gc=False):
    """What a row of the timer index says: `kind` is `t` (a timer fires) or `r` (an activity is tried again)."""

    due_ms: int
    kind: str
    workflow_id: str
    run_id: str
    sequence: int


_encoder = msgspec.msgpack.Encoder()
pack = _encoder.encode
unpack_run = msgspec.msgpack.Decoder(RunRow).decode
unpack_activity = msgspec.msgpack.Decoder(ActivityRow).decode
unpack_timer = msgspec.msgpack.Decoder(TimerRow).decode
unpack_child = msgspec.msgpack.Decoder(ChildRow).decode
unpack_shard = msgspec.msgpack.Decoder(ShardRow).decode


def run_key(workflow_id: str) -> bytes:
    """The header of the id's present run."""
    return b"R" + workflow_id.encode()


def blocked_key(workflow_id: str) -> bytes:
    """The mark of a BLOCKED run, so that they are found without a search."""
    return b"B" + workflow_id.encode()


def run_prefix(kind: bytes, workflow_id: str, run_id: str) -> bytes:
    """Where one run's rows of a kind begin: `H` history, `A` activities, `t` timers, `C` children, `W` awaiters."""
    return b"%b%b\x00%b\x00" % (kind, workflow_id.encode(), run_id.encode())


def sequence_key(kind: bytes, workflow_id: str, run_id: str, sequence: int) -> bytes:
    """One numbered row of a run."""
    return b"%b%b\x00%b\x00%b" % (kind, workflow_id.encode(), run_id.encode(), sequence.to_bytes(8, "big"))


def awaiter_key(workflow_id: str, run_id: str, message_id: str) -> bytes:
    """Somebody who wants to be told when the run closes."""
    return run_prefix(b"W", workflow_id, run_id) + message_id.encode()


def due_key(due_ms: int, kind: str, workflow_id: str, run_id: str, sequence: int) -> bytes:
    """A row of the timer index, sorted by due time."""
    return b"T%b%b%b\x00%b\x00%b" % (
        due_ms.to_bytes(8, "big"),
        kind.encode(),
        workflow_id.encode(),
        run_id.encode(),
        sequence.to_bytes(8, "big"),
    )


def due_bound(due_ms: int) -> bytes:
    """Every timer due before `due_ms` sorts below this key."""
    return b"T" + due_ms.to_bytes(8, "big")


def parse_due_key(key: bytes) -> DueKey:
    """The inverse of `due_key`."""
    workflow_id, rest = key[10:].split(b"\x00", 1)
    run_id = rest[:-9]
    return DueKey(
        int.from_bytes(key[1:9], "big"),
        chr(key[9]),
        workflow_id.decode(),
        run_id.decode(),
        int.from_bytes(rest[-8:], "big"),
    )


def message_key(now_ms: int, workflow_id: str, message_id: str) -> bytes:
    """That a message took effect, in the bucket of its day."""
    return b"M%b%b\x00%b" % ((now_ms // DAY_MS).to_bytes(4, "big"), workflow_id.encode(), message_id.encode())


def closed_key(closed_ms: int, workflow_id: str, run_id: str) -> bytes:
    """That a run closed, in the bucket of its day: what retention sweeps."""
    return b"Z%b%b\x00%b" % ((closed_ms // DAY_MS).to_bytes(4, "big"), workflow_id.encode(), run_id.encode())


def day_bound(kind: bytes, day: int) -> bytes:
    """Every row of `kind` from before `day` sorts below this key."""
    return kind + day.to_bytes(4, "big")


def parse_closed_key(key: bytes) -> tuple[str, str]:
    """The inverse of `closed_key`: workflow id and run id."""
    workflow_id, run_id = key[5:].split(b"\x00", 1)
    return workflow_id.decode(), run_id.decode()


def after(prefix: bytes) -> bytes:
    """The first key behind all keys that begin with `prefix`."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))
