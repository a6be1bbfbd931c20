"""Reads over the log: descriptions, histories and lists, from the rows as the decisions so far have left them.

An answer is bounded, since the shard decides nothing while it reads: a history and a list are paged, a description of a
run with too many pending activities is refused. It leaves with the layer that it was read on top of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import structlog

from penstock.engine.core.decision import Rejection
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.limits import READ_BYTES_MAX
from penstock.engine.runtime import reads, schedule_reads, share_reads
from penstock.engine.runtime.overlay import Overlay
from penstock.engine.runtime.pace import Room
from penstock.schemas.records.reading import DescribeWorkflow, ListWorkflows, ReadHistory
from penstock.schemas.records.schedule import DescribeSchedule, ListSchedules
from penstock.schemas.records.share import ListVersionShares
from penstock.schemas.values.schedule import schedule_name

RowRead = DescribeWorkflow | ReadHistory | ListWorkflows | DescribeSchedule | ListSchedules | ListVersionShares

logger = structlog.get_logger(__name__)

_FAILED = Rejection(
    "engine_error",
    "Reading it failed with an error inside Penstock; the processor's log has the traceback.",
    keep=False,
)


class RowReads:
    """Answers reads of one shard's rows."""

    def __init__(self, overlay: Overlay, hosted: Hosted) -> None:
        self._overlay, self._hosted = overlay, hosted

    def found(self, command: RowRead, room: Room) -> bytes | Rejection:
        """The answer as JSON, or why there is none. Takes room of the turn for the rows that are read."""
        try:
            found = self._found(command, room)
        except _TooMuchError:
            size = READ_BYTES_MAX // (1024 * 1024)
            return Rejection(
                "too_large",
                f"{command.workflow_id} waits for so much that its description exceeds {size} MB; read its history.",
                keep=False,
            )
        except Exception:
            logger.exception("reading failed", workflow_id=command.workflow_id, command=type(command).__name__)
            return _FAILED
        return found if isinstance(found, Rejection) else msgspec.json.encode(found)

    def _found(self, command: RowRead, room: Room) -> dict[str, Any] | Rejection:
        match command:
            case DescribeWorkflow():
                return self._describe(command.workflow_id, room)
            case ReadHistory():
                return self._history(command, room)
            case ListWorkflows():
                return self._list(command, room)
            case DescribeSchedule():
                return self._describe_schedule(command.workflow_id, room)
            case ListSchedules():
                return self._list_schedules(command, room)
            case ListVersionShares():
                found = share_reads.version_shares(self._overlay, command.workflow_type)
                room.use(len(found), 0)
                return {"shares": found}

    def _describe(self, workflow_id: str, room: Room) -> dict[str, Any] | Rejection:
        rows = _RunRows(self._overlay, workflow_id, READ_BYTES_MAX)
        try:
            run = reads.describe(rows, workflow_id)
        finally:
            room.use(rows.count, 0)
        if run is None:
            return _not_found(workflow_id)
        run["unhosted"], run["handlers"] = self._hosted.notes(run), self._hosted.handlers_of(run)
        return run

    def _history(self, command: ReadHistory, room: Room) -> dict[str, Any] | Rejection:
        rows = _RunRows(self._overlay, command.workflow_id)
        page = reads.history_page(rows, command.workflow_id, command.run_id, max(0, command.after))
        room.use(rows.count, 0)
        return page or _not_found(command.workflow_id, command.run_id)

    def _list(self, command: ListWorkflows, room: Room) -> dict[str, Any] | Rejection:
        if not 1 <= command.limit <= reads.LIMIT_MAX:
            return Rejection("bad_input", f"limit must be a number from 1 to {reads.LIMIT_MAX}.", keep=False)
        page, count = reads.runs_page(
            self._overlay,
            status=command.status,
            workflow_type=command.workflow_type,
            limit=command.limit,
            after_id=command.after,
        )
        room.use(count, 0)
        return page

    def _describe_schedule(self, schedule_id: str, room: Room) -> dict[str, Any] | Rejection:
        rows = _RunRows(self._overlay, schedule_id, READ_BYTES_MAX)
        found = schedule_reads.describe_schedule(rows, schedule_id)
        room.use(rows.count, 0)
        return found or Rejection("not_found", f"There is no schedule {schedule_name(schedule_id)}.", keep=False)

    def _list_schedules(self, command: ListSchedules, room: Room) -> dict[str, Any] | Rejection:
        if not 1 <= command.limit <= reads.LIMIT_MAX:
            return Rejection("bad_input", f"limit must be a number from 1 to {reads.LIMIT_MAX}.", keep=False)
        page, count = schedule_reads.schedules_page(self._overlay, limit=command.limit, after_name=command.after)
        room.use(count, 0)
        return page


class _TooMuchError(Exception):
    """A read exceeds its bytes."""


class _RunRows:
    """Rows of one run, counted. Raises _TooMuchError beyond `bytes_max`, if that is given."""

    def __init__(self, overlay: Overlay, workflow_id: str, bytes_max: int = 0) -> None:
        self._overlay, self._workflow_id, self._bytes_max = overlay, workflow_id, bytes_max
        self._bytes = self.count = 0

    def get(self, key: bytes) -> bytes | None:
        """The row's value, or None."""
        return self._overlay.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop, in order."""
        for key, value in self._overlay.scan_run(self._workflow_id, start, stop):
            self.count += 1
            self._bytes += len(value)
            if 0 < self._bytes_max < self._bytes:
                raise _TooMuchError
            yield key, value


def _not_found(workflow_id: str, run_id: str = "") -> Rejection:
    missing = f"{workflow_id} has no run {run_id}" if run_id else f"There is no run with the id {workflow_id}"
    return Rejection("not_found", f"{missing}.", keep=False)
