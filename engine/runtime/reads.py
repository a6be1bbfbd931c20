"""Committed reads: the rows of a shard as plain values."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from penstock.engine.core.answers import chain_id, shown_status
from penstock.engine.core.keys import (
    ACTIVITY,
    CHILD,
    DUE,
    HISTORY,
    RUN,
    SHARD_KEY,
    TIMER,
    UPDATE,
    DueKey,
    after,
    memo_key,
    parse_due_key,
    run_key,
    run_prefix,
)
from penstock.engine.core.limits import HISTORY_LONG, PAGE_BYTES_MAX, PAGE_ROWS_MAX, READ_BYTES_MAX
from penstock.engine.core.machines.update import OPEN as UPDATE_OPEN
from penstock.engine.core.pending import pending_activities
from penstock.engine.core.rows import (
    ActivityRow,
    RunRow,
    Watch,
    unpack_child,
    unpack_run,
    unpack_shard,
    unpack_timer,
    unpack_update,
)
from penstock.engine.core.statuses import CLOSED
from penstock.engine.store.store import StoreReader
from penstock.schemas.encoding.codec import decode
from penstock.schemas.records.decisions import DecisionRecorded, Listening
from penstock.schemas.records.external import RecordPublished
from penstock.schemas.values.attributes import shown_search

LIMIT_MAX = 10_000
"""Runs of one list."""


def describe(store: StoreReader, workflow_id: str) -> dict[str, Any] | None:
    """The id's current run and what it waits for; None if there is no such run."""
    data = store.get(run_key(workflow_id))
    if data is None:
        return None
    row = unpack_run(data)
    listening = row.listening or Listening()
    return {
        **summary(workflow_id, row),
        "memo": json_value(store.get(memo_key(workflow_id, row.run_id)) or b"") or {},
        "result": json_value(row.result),
        "failure": plain(row.failure),
        "pending_activities": [_activity(pending) for pending in _activities(store, workflow_id, row)],
        "pending_timers": [plain(unpack_timer(value)) for value in _rows(store, TIMER, workflow_id, row)],
        "signals_awaited": list(listening.awaited),
        "conditions_awaited": listening.conditions,
        "signals_unread": listening.unread,
        "pending_children": [plain(unpack_child(value)) for value in _rows(store, CHILD, workflow_id, row)],
        "open_updates": _open_updates(store, workflow_id, row),
        "handlers": {"signals": [], "queries": list(listening.queries), "updates": list(listening.updates)},
        "begins_ms": row.begins_ms or None,
        "deadline_ms": row.deadline_ms or None,
    }


def history(store: StoreReader, workflow_id: str, run_id: str = "") -> list[dict[str, Any]]:
    """The run's events, numbered from 1: `number`, `event`, `at_ms`, `decision` (events of one
    decision have its number) and the event's own fields."""
    data = store.get(run_key(workflow_id))
    row = unpack_run(data) if data is not None else None
    if row is None:
        if not run_id:
            return []
    elif run_id in {"", row.first_run_id}:  # a chain is addressed by its first run
        run_id = row.run_id
    prefix = run_prefix(HISTORY, workflow_id, run_id)
    return [event for _, value in store.scan(prefix, after(prefix)) for event in events_of(value)]


def history_page(store: StoreReader, workflow_id: str, run_id: str, after_number: int) -> dict[str, Any] | None:
    """Events as `history` returns them, behind the event of that number: `run_id`, `events`, and `more`, whether others
    follow. None if there is no such run; beyond the first page, `run_id` is that of one run and not of a chain."""
    data = store.get(run_key(workflow_id))
    row = unpack_run(data) if data is not None else None
    if row is not None and (not run_id or (not after_number and run_id == row.first_run_id)):
        run_id = row.run_id
    prefix = run_prefix(HISTORY, workflow_id, run_id)
    events: list[dict[str, Any]] = []
    size, more = 0, False
    for _, value in store.scan(prefix + (after_number + 1).to_bytes(8, "big"), after(prefix)):
        size += len(value)
        if events and size > PAGE_BYTES_MAX:
            more = True
            break
        events += events_of(value)
    known = events or (run_id and store.get(prefix + (1).to_bytes(8, "big")) is not None)
    return {"run_id": run_id, "events": events, "more": more} if known else None


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
    start = run_key(after) + b"\x00" if after else RUN
    for key, value in store.scan(start, _RUNS_END):
        row = unpack_run(value)
        if (status is None or shown_status(row) == status) and (
            workflow_type is None or row.workflow_type == workflow_type
        ):
            found.append(summary(_workflow_id(key), row))
            if len(found) >= limit:
                break
    return found


def runs_page(
    store: StoreReader, *, status: str, workflow_type: str, limit: int, after_id: str
) -> tuple[dict[str, Any], int]:
    """Summaries as `list_runs` returns them, and how many rows were read: `runs`, and `next`, the id behind which the
    next page begins (empty after the last). `status`, `workflow_type`: empty for all."""
    runs: list[msgspec.Raw] = []
    last = after_id
    rows = size = read = 0
    for key, value in store.scan(run_key(after_id) + b"\x00" if after_id else RUN, _RUNS_END):
        if len(runs) >= limit or rows >= PAGE_ROWS_MAX or size >= PAGE_BYTES_MAX or read >= READ_BYTES_MAX:
            return {"runs": runs, "next": last}, rows
        rows, read, last = rows + 1, read + len(value), _workflow_id(key)
        row = unpack_run(value)
        if status in {"", shown_status(row)} and workflow_type in {"", row.workflow_type}:
            runs.append(msgspec.Raw(msgspec.json.encode(summary(last, row))))
            size += len(runs[-1])
    return {"runs": runs, "next": ""}, rows


class Attempt(NamedTuple):
    """An attempt of an activity."""

    workflow_id: str
    run_id: str
    sequence: int
    attempt: int


class PendingWork(msgspec.Struct, frozen=True):
    """What a shard may do next.

    `offsets`: next input of each topic; `due`: the earliest timer or retry, None without any; `attempts`: those that
    are with the workers, and not completed from outside."""

    offsets: dict[str, int]
    due: DueKey | None
    attempts: frozenset[Attempt]


def pending_work(store: StoreReader) -> PendingWork:
    """What the shard may do next. Under concurrent writes it may overreport pending work."""
    data = store.get(SHARD_KEY)
    offsets = unpack_shard(data).offsets if data is not None else {}
    due = next((parse_due_key(key) for key, _ in store.scan(DUE, after(DUE))), None)
    attempts: set[Attempt] = set()
    for key, value in store.scan(RUN, _RUNS_END):
        row, workflow_id = unpack_run(value), _workflow_id(key)
        if row.status not in CLOSED:
            attempts.update(
                Attempt(workflow_id, pending.run_id or row.run_id, pending.sequence, pending.attempt)
                for pending in _activities(store, workflow_id, row)
                if not (pending.retry_ms or (pending.watch is not None and pending.watch.outside))
            )
    return PendingWork(offsets=offsets, due=due, attempts=frozenset(attempts))


def summary(workflow_id: str, row: RunRow) -> dict[str, Any]:
    """The header of a run in plain values."""
    return {
        "workflow_id": workflow_id,
        "run_id": row.run_id,
        "first_run_id": chain_id(row),
        "type": row.workflow_type,
        "version": row.version,
        "status": shown_status(row),
        "started_ms": row.started_ms,
        "closed_ms": row.closed_ms or None,
        "events": row.next_number - 1,
        "is_long": row.next_number > HISTORY_LONG,
        "cancel_requested": row.cancel_requested,
        "reason": row.reason or None if row.status in CLOSED else None,
        "blocked_reason": row.blocked_reason or None,
        "blocked_message": row.blocked_message or None,
        "paused_ms": row.pause.at_ms if row.pause is not None else None,
        "paused_by": row.pause.by or None if row.pause is not None else None,
        "pause_reason": row.pause.reason or None if row.pause is not None else None,
        "parent_workflow_id": row.parent_workflow_id or None,
        "reset_from": row.reset_from or None,
        "reset_to": row.reset_to if row.reset_from else None,
        "chain_length": row.chain_length,
        "retries": row.retries,
        "details": json_value(row.details),
        "search": shown_search(row.search),
    }


def plain(value: Any) -> Any:
    """Records as dictionaries; bytes, which are JSON payloads, as the values they hold, raw ones as base64."""
    if isinstance(value, RecordPublished) and value.raw:
        value = msgspec.structs.replace(value, value=msgspec.json.encode(value.value))  # base64
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, bytes):
        return json_value(value)
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value


def json_value(data: bytes) -> Any:
    """Value of a payload; as text if it is not JSON."""
    if not data:
        return None
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return data.decode(errors="replace")


_RUNS_END = after(RUN)


def _workflow_id(header_key: bytes) -> str:
    return header_key[len(RUN) :].decode()


def _rows(store: StoreReader, kind: bytes, workflow_id: str, row: RunRow) -> list[bytes]:
    prefix = run_prefix(kind, workflow_id, row.run_id)
    return [value for _, value in store.scan(prefix, after(prefix))]


def _activities(store: StoreReader, workflow_id: str, row: RunRow) -> list[ActivityRow]:
    return pending_activities(row, _rows(store, ACTIVITY, workflow_id, row))


def _open_updates(store: StoreReader, workflow_id: str, row: RunRow) -> list[dict[str, Any]]:
    """Updates that were held or accepted and have not ended."""
    if not row.pending_updates:
        return []
    found = map(unpack_update, _rows(store, UPDATE, workflow_id, row))
    return [
        {"update": update.update, "update_id": update.message_id, "state": update.state}
        for update in found
        if update.state in UPDATE_OPEN
    ]


def _activity(row: ActivityRow) -> dict[str, Any]:
    described: dict[str, Any] = plain(row)
    watch = row.watch or Watch()
    del described["retry"], described["watch"]
    return {
        **described,
        "retries_max": row.retry.retries_max,
        "begun_ms": watch.started_ms or None,
        "worker": watch.worker or None,
        "heartbeat": json_value(watch.details),
        "heartbeat_ms": watch.beat_ms or None,
        "outside": watch.outside,
        "times_out_ms": watch.due_ms or None,
    }


def events_of(decision: bytes) -> list[dict[str, Any]]:
    """The events of an encoded DecisionRecorded, as `history` returns them."""
    record = decode(decision)
    return [_event(number, record, decode(event)) for number, event in enumerate(record.events, record.first_sequence)]


def _event(number: int, record: DecisionRecorded, event: Any) -> dict[str, Any]:
    at = {"at_ms": record.now_ms, "decision": record.decision}
    return {"number": number, "event": type(event).__name__, **at, **plain(event)}
