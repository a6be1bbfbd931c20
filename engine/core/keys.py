"""Keys of a shard's rows.

A key is a kind byte, the workflow id, NUL, the run id, NUL and an 8-byte sequence, so that the rows of one run lie
together in the order of their sequences.

| kind | row | key continues with |
|---|---|---|
| `S` | the shard's own row | nothing |
| `R` | header of an id's current run | workflow id |
| `B` | mark of a BLOCKED run | workflow id |
| `H` | history: one decision's events | workflow id, run id, first sequence |
| `A` | pending activity | workflow id, run id, sequence |
| `t` | pending timer | workflow id, run id, sequence |
| `C` | pending child | workflow id, run id, sequence |
| `W` | caller that awaits the result | workflow id, run id, message id |
| `U` | update that was held or accepted | workflow id, run id, message id |
| `N` | memo | workflow id, run id |
| `T` | entry of the due index | due time, kind, workflow id, run id, sequence |
| `M` | message that took effect, kept as long as its run | workflow id, message id |
| `J` | start that joined the run | workflow id, run id, message id |
| `Z` | closed run | how long it is kept, day, workflow id, run id |
| `K` | command that came before its run | workflow id, offset of its record |
| `P` | schedule | its id |
| `p` | open run of a schedule | the schedule's id, NUL, NUL, run id |
| `V` | shares of the versions of a workflow type | the type's name |
"""

from __future__ import annotations

import msgspec

DAY_MS = 86_400_000

NEVER_MS = 1 << 62
"""Later than any due time."""

SHARD_KEY = b"S"

RUN, BLOCKED, HISTORY = b"R", b"B", b"H"
ACTIVITY, TIMER, CHILD, AWAITER, UPDATE, MEMO = b"A", b"t", b"C", b"W", b"U", b"N"
DUE, MESSAGE, JOINED, CLOSED, KEPT = b"T", b"M", b"J", b"Z", b"K"
SCHEDULE, SCHEDULED = b"P", b"p"
SHARES = b"V"

TIMER_DUE, RETRY_DUE, ACTIVATION_DUE, START_DUE, DEADLINE_DUE, KEPT_DUE = "t", "r", "a", "s", "d", "k"
SCHEDULE_DUE = "p"
TIMEOUT_DUE = "w"


class DueKey(msgspec.Struct, frozen=True, gc=False):
    """Entry of the due index.

    `kind`: `t` for a timer of workflow code, `r` for the next attempt of an activity, `a` for a suspended activation,
    `s` for a delayed start, `d` for the end of a run's time, `k` for a command that came before its run (`sequence` is
    the offset of its record), `p` for a schedule, `w` for the end of an activity's time or of its attempt's."""

    due_ms: int
    kind: str
    workflow_id: str
    run_id: str
    sequence: int


def run_key(workflow_id: str) -> bytes:
    """Key of the header of the id's current run."""
    return RUN + workflow_id.encode()


def blocked_key(workflow_id: str) -> bytes:
    """Key of the mark of a BLOCKED run."""
    return BLOCKED + workflow_id.encode()


def run_prefix(kind: bytes, workflow_id: str, run_id: str) -> bytes:
    """Beginning of the keys of one run's rows of a kind."""
    return b"%b%b\x00%b\x00" % (kind, workflow_id.encode(), run_id.encode())


def id_prefix(kind: bytes, workflow_id: str) -> bytes:
    """Beginning of the keys of the rows of a kind of all runs of an id."""
    return b"%b%b\x00" % (kind, workflow_id.encode())


def memo_key(workflow_id: str, run_id: str) -> bytes:
    """Key of the run's memo."""
    return run_prefix(MEMO, workflow_id, run_id)


def awaiter_key(workflow_id: str, run_id: str, message_id: str) -> bytes:
    """Key of a caller that awaits the run's result."""
    return run_prefix(AWAITER, workflow_id, run_id) + message_id.encode()


def update_key(workflow_id: str, run_id: str, message_id: str) -> bytes:
    """Key of an update."""
    return run_prefix(UPDATE, workflow_id, run_id) + message_id.encode()


def due_key(due_ms: int, kind: str, workflow_id: str, run_id: str, sequence: int) -> bytes:
    """Key of an entry of the due index, sorted by due time (epoch)."""
    return b"T%b%b%b\x00%b\x00%b" % (
        due_ms.to_bytes(8, "big"),
        kind.encode(),
        workflow_id.encode(),
        run_id.encode(),
        sequence.to_bytes(8, "big"),
    )


def due_bound(due_ms: int) -> bytes:
    """Key above all entries due before `due_ms`."""
    return DUE + due_ms.to_bytes(8, "big")


def due_ms_of(key: bytes) -> int:
    """Due time in a key of the due index."""
    return int.from_bytes(key[1:9], "big")


def parse_due_key(key: bytes) -> DueKey:
    """Inverse of `due_key`."""
    workflow_id, rest = key[10:].split(b"\x00", 1)
    return DueKey(
        due_ms_of(key), chr(key[9]), workflow_id.decode(), rest[:-9].decode(), int.from_bytes(rest[-8:], "big")
    )


def message_key(workflow_id: str, message_id: str) -> bytes:
    """Key of a message that took effect."""
    return b"M%b\x00%b" % (workflow_id.encode(), message_id.encode())


def joined_key(workflow_id: str, run_id: str, message_id: str) -> bytes:
    """Key of a start that joined the run."""
    return run_prefix(JOINED, workflow_id, run_id) + message_id.encode()


def kept_prefix(workflow_id: str) -> bytes:
    """Beginning of the keys of commands that came before the id's run."""
    return KEPT + workflow_id.encode() + b"\x00"


def kept_key(workflow_id: str, offset: int) -> bytes:
    """Key of a command that came before its run, by the offset of its record."""
    return kept_prefix(workflow_id) + offset.to_bytes(8, "big")


def schedule_key(schedule_id: str) -> bytes:
    """Key of a schedule."""
    return SCHEDULE + schedule_id.encode()


def scheduled_key(schedule_id: str, run_id: str) -> bytes:
    """Key of an open run of a schedule."""
    return run_prefix(SCHEDULED, schedule_id, "") + run_id.encode()


def share_key(workflow_type: str) -> bytes:
    """Key of the shares of a workflow type's versions."""
    return SHARES + workflow_type.encode()


def parse_kept_key(key: bytes) -> str:
    """Workflow id in the key of a command that came before its run."""
    return key[1:-9].decode()


def run_of_row(key: bytes) -> tuple[str, str]:
    """Workflow id and run id in the key of a numbered row of a run."""
    workflow_id, run_id = key[1:-9].split(b"\x00", 1)
    return workflow_id.decode(), run_id.decode()


def parse_message_of(key: bytes) -> str:
    """Message id in the key of a start that joined, or of an update."""
    return key.split(b"\x00", 2)[2].decode()


class ClosedKey(msgspec.Struct, frozen=True, gc=False):
    """Entry of the index of closed runs. `kept_ms`: how long the run is kept; a number of SETTING_OF if the processors'
    setting says so."""

    kept_ms: int
    day: int
    workflow_id: str
    run_id: str


def closed_prefix(kept_ms: int) -> bytes:
    """Beginning of the keys of closed runs that are kept for `kept_ms`."""
    return CLOSED + kept_ms.to_bytes(8, "big")


def closed_bound(kept_ms: int, day: int) -> bytes:
    """Key above all those of them that closed before `day`."""
    return closed_prefix(kept_ms) + day.to_bytes(4, "big")


def closed_key(kept_ms: int, closed_ms: int, workflow_id: str, run_id: str) -> bytes:
    """Key of a closed run, in the bucket of its day."""
    return b"%b%b\x00%b" % (closed_bound(kept_ms, closed_ms // DAY_MS), workflow_id.encode(), run_id.encode())


def parse_closed_key(key: bytes) -> ClosedKey:
    """Inverse of `closed_key`."""
    workflow_id, run_id = key[13:].split(b"\x00", 1)
    return ClosedKey(
        int.from_bytes(key[1:9], "big"), int.from_bytes(key[9:13], "big"), workflow_id.decode(), run_id.decode()
    )


def after(prefix: bytes) -> bytes:
    """First key behind all keys that begin with `prefix`."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))
