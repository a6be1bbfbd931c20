"""What does a shard know about its runs? Committed rows, as plain values for people and programs."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from penstock.engine.core.machines.run import CLOSED
from penstock.engine.core.rows import (
    SHARD_KEY,
    ActivityRow,
    DueKey,
    Listening,
    RunRow,
    after,
    parse_due_key,
    run_key,
    run_prefix,
    unpack_activity,
    unpack_child,
    unpack_run,
    unpack_shard,
    unpack_timer,
)
from penstock.engine.execution.replayer import history_record
from penstock.engine.store.store import StoreReader
from penstock.schemas.encoding.codec import decode

LIMIT_MAX = 10_000
"""Runs of one list."""


def describe(store: StoreReader, workflow_id: str) -> dict[str, Any] | None:
    """The id's present run and what it waits for; None if there is no such run."""
    data = store.get(run_key(workflow_id))
    if data is None:
        return None
    row = unpack_run(data)
    described = summary(row)
    described["result"] = json_value(row.result)
    described["failure"] = plain(row.failure)
    described["pending_activities"] = [_activity(pending) for pending in _activities(store, row)]
    described["pending_timers"] = [plain(unpack_timer(value)) for value in _rows(store, b"t", row)]
    listening = row.listening or Listening()
    described["signals_awaited"] = list(listening.awaited)
    described["conditions_awaited"] = listening.conditions
    described["signals_unread"] = listening.unread
    described["pending_children"] = [plain(unpack_child(value)) for value in _rows(store, b"C", row)]
    return described


def history(store: StoreReader, workflow_id: str, run_id: str = "") -> list[dict[str, Any]]:
    """The run's events, numbered from 1: `number`, `event`, `at_ms` and the event's own fields."""
    if not run_id:
        data = store.get(run_key(workflow_id))
        if data is None:
            return []
        run_id = unpack_run(data).run_id
    prefix = run_prefix(b"H", workflow_id, run_id)
    found: list[dict[str, Any]] = []
    for _, value in store.scan(prefix, after(prefix)):
        record = history_record(value)
        for number, event in enumerate(record.events, record.first_sequence):
            found.append(_event(number, record.now_ms, decode(event)))
    return found


def list_runs(
    store: StoreReader,
    *,
    status: str | None = None,
    workflow_type: str | None = None,
    limit: int = 100,
    after: str = "",
) -> list[dict[str, Any]]:
    """Summaries in the order of workflow ids, beginning behind the id `after`."""
    found: list[dict[str, Any]] = []
    start = run_key(after) + b"\x00" if after else b"R"
    for _, value in store.scan(start, b"S"):
        row = unpack_run(value)
        if (status is None or row.status == status) and (workflow_type is None or row.workflow_type == workflow_type):
            found.append(summary(row))
            if len(found) >= limit:
                break
    return found


class Attempt(NamedTuple):
    """An attempt of an activity."""

    workflow_id: str
    run_id: str
    sequence: int
    attempt: int


class Outlook(msgspec.Struct, frozen=True):
    """What a shard may do next. `offsets`: the next input of each topic; `due`: the earliest timer or retry, None
    without any; `attempts`: those that are with the workers."""

    offsets: dict[str, int]
    due: DueKey | None
    attempts: frozenset[Attempt]


def outlook(store: StoreReader) -> Outlook:
    """What the shard may do next. Of rows that are written meanwhile it errs on the side of more to do."""
    data = store.get(SHARD_KEY)
    offsets = unpack_shard(data).offsets if data is not None else {}
    due = next((parse_due_key(key) for key, _ in store.scan(b"T", b"U")), None)
    attempts: set[Attempt] = set()
    for _, value in store.scan(b"R", b"S"):
        row = unpack_run(value)
        if row.status not in CLOSED:
            attempts.update(
                Attempt(row.workflow_id, row.run_id, pending.sequence, pending.attempt)
                for pending in _activities(store, row)
                if not pending.retry_ms
            )
    return Outlook(offsets=offsets, due=due, attempts=frozenset(attempts))


def summary(row: RunRow) -> dict[str, Any]:
    """The header of a run in plain values."""
    return {
        "workflow_id": row.workflow_id,
        "run_id": row.run_id,
        "type": row.workflow_type,
        "version": row.version,
        "status": row.status,
        "started_ms": row.started_ms,
        "closed_ms": row.closed_ms or None,
        "events": row.next_number - 1,
        "cancel_requested": row.cancel_requested,
        "reason": row.reason or None if row.status in CLOSED else None,
        "blocked_reason": row.blocked_reason or None,
        "blocked_message": row.blocked_message or None,
        "parent_workflow_id": row.parent_workflow_id or None,
    }


def plain(value: Any) -> Any:
    """Records as dictionaries; bytes, which are JSON payloads, as the values they hold."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, bytes):
        return json_value(value)
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value


def json_value(data: bytes) -> Any:
    """A payload's value; what is no JSON is told as text."""
    if not data:
        return None
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return data.decode(errors="replace")


def _rows(store: StoreReader, kind: bytes, row: RunRow) -> list[bytes]:
    prefix = run_prefix(kind, row.workflow_id, row.run_id)
    return [value for _, value in store.scan(prefix, after(prefix))]


def _activities(store: StoreReader, row: RunRow) -> list[ActivityRow]:
    apart = [unpack_activity(value) for value in _rows(store, b"A", row)]
    return sorted([*row.at_hand.values(), *apart], key=lambda pending: pending.sequence)


def _activity(row: ActivityRow) -> dict[str, Any]:
    told: dict[str, Any] = plain(row)
    del told["retry"]
    told["retries_max"] = row.retry.retries_max
    return told


def _event(number: int, at_ms: int, event: Any) -> dict[str, Any]:
    return {"number": number, "event": type(event).__name__, "at_ms": at_ms, **plain(event)}
