"""Schedules for programs without asyncio: `SyncClient.schedules`."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from penstock.client.reads import Json, JsonList
from penstock.client.run import Run
from penstock.client.schedules import ScheduleHandle, Schedules
from penstock.engine.authoring.class_form import Startable
from penstock.schemas.values.attributes import SearchValue
from penstock.schemas.values.call import Call
from penstock.schemas.values.durations import Duration
from penstock.schemas.values.retry_options import UNSET, Unset
from penstock.schemas.values.schedule import Overlap, Schedule

T = TypeVar("T")


class Waiter(Protocol):
    """What runs coroutines of the asynchronous client."""

    def wait(self, work: Coroutine[Any, Any, T]) -> T: ...


class SyncSchedules:
    """The schedules of a client's namespace; see `Schedules`."""

    def __init__(self, client: Waiter, schedules: Schedules) -> None:
        self._client, self._schedules = client, schedules

    def create(
        self,
        name: str,
        call: Call[Any] | Startable[Any],
        schedule: Schedule,
        *,
        headers: Mapping[str, str] | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
        trigger: bool = False,
        may_exist: bool = False,
        timeout: Duration | None = None,
    ) -> SyncScheduleHandle:
        """As `Schedules.create`."""
        created = self._schedules.create(
            name,
            call,
            schedule,
            headers=headers,
            run_timeout=run_timeout,
            execution_timeout=execution_timeout,
            retries=retries,
            backoff=backoff,
            memo=memo,
            search=search,
            trigger=trigger,
            may_exist=may_exist,
            timeout=timeout,
        )
        return SyncScheduleHandle(self._client, self._client.wait(created))

    def get(self, name: str) -> SyncScheduleHandle:
        """As `Schedules.get`."""
        return SyncScheduleHandle(self._client, self._schedules.get(name))

    def list(self, *, limit: int = 100, after: str = "") -> JsonList:
        """As `Schedules.list`."""
        return self._client.wait(self._schedules.list(limit=limit, after=after))


class SyncScheduleHandle:
    """A handle on one schedule; see `ScheduleHandle`."""

    def __init__(self, client: Waiter, handle: ScheduleHandle) -> None:
        self._client, self._handle = client, handle
        self.name, self.id = handle.name, handle.id

    def pause(self, note: str = "") -> None:
        """As `ScheduleHandle.pause`."""
        self._client.wait(self._handle.pause(note))

    def resume(self, note: str = "") -> None:
        """As `ScheduleHandle.resume`."""
        self._client.wait(self._handle.resume(note))

    def trigger(self, *, overlap: Overlap | None = None) -> str | None:
        """As `ScheduleHandle.trigger`; returns the workflow id of the run for `SyncClient.get`."""
        run: Run[Any] | None = self._client.wait(self._handle.trigger(overlap=overlap))
        return None if run is None else run.id

    def backfill(self, start: datetime, end: datetime, *, overlap: Overlap = "buffer_all") -> str:
        """As `ScheduleHandle.backfill`."""
        return self._client.wait(self._handle.backfill(start, end, overlap=overlap))

    def update(
        self, schedule: Schedule | None = None, call: Call[Any] | Startable[Any] | None = None, **options: Any
    ) -> None:
        """As `ScheduleHandle.update`."""
        self._client.wait(self._handle.update(schedule, call, **options))

    def delete(self) -> None:
        """As `ScheduleHandle.delete`."""
        self._client.wait(self._handle.delete())

    def describe(self) -> Json:
        """As `ScheduleHandle.describe`."""
        return self._client.wait(self._handle.describe())

    def __repr__(self) -> str:
        return repr(self._handle)
