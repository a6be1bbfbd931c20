"""Schedules of a namespace: create, read and steer them over the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec

from penstock.client.checks import check_list_filters, check_named_start
from penstock.client.connection import Connection
from penstock.client.deadline import deadline_after
from penstock.client.reads import Json, JsonList
from penstock.client.run import Run
from penstock.client.starting import StartOptions, start_command
from penstock.engine.authoring.class_form import Startable, claimed_call
from penstock.engine.authoring.definition import WorkflowCall
from penstock.schemas.errors import (
    BadInput,
    ScheduleAlreadyExists,
    ScheduleNotFound,
    WorkflowAlreadyExists,
    WorkflowNotFound,
)
from penstock.schemas.records.kinds import Command
from penstock.schemas.records.replies import Accepted
from penstock.schemas.records.run import StartWorkflow
from penstock.schemas.records.schedule import (
    BackfillSchedule,
    CreateSchedule,
    DeleteSchedule,
    DescribeSchedule,
    ListSchedules,
    PauseSchedule,
    ResumeSchedule,
    TriggerSchedule,
    UpdateSchedule,
)
from penstock.schemas.values.attributes import SearchValue
from penstock.schemas.values.call import Call
from penstock.schemas.values.durations import Duration, due_ms
from penstock.schemas.values.payload import adapter_for
from penstock.schemas.values.requests import ChildRequest
from penstock.schemas.values.retry_options import UNSET, Unset
from penstock.schemas.values.schedule import Overlap, Schedule, check_overlap, schedule_id

_ACTION = ("workflow_type", "input", "headers", "memo", "search", "run_timeout_ms", "execution_timeout_ms", "retry")


class Schedules:
    """The schedules of a client's namespace: `client.schedules`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
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
    ) -> ScheduleHandle:
        """Create a schedule that starts `report()`, or an object `Claim(form)` of a workflow class, at each tick.

        The run of a tick has the id `NAME-<tick in UTC>`, such as `nightly-2026-11-26T02:00:00Z`, and starts once.
        `trigger`: start a run at once, too. `may_exist`: a schedule that is there is changed as by
        `ScheduleHandle.update`; otherwise it is an error. The other options are those of `Client.start`, for every run.

        Raises BadInput, BadName, PayloadTooLarge before anything is sent; ScheduleAlreadyExists, UnknownWorkflowType,
        CommandRejected, NotAnswered (the command is in the log), LogError."""
        asked = claimed_call(call, "client.schedules.create")
        options = StartOptions(
            "use_existing", headers, None, run_timeout, execution_timeout, retries, backoff, memo, search
        )
        start = _start_of(asked.request, asked.input, options)
        return await self._create(name, start, schedule, trigger=trigger, may_exist=may_exist, timeout=timeout)

    async def create_by_name(
        self,
        name: str,
        type: str,
        input: bytes,
        schedule: Schedule,
        *,
        trigger: bool = False,
        may_exist: bool = False,
        timeout: Duration | None = None,
        **options: Any,
    ) -> ScheduleHandle:
        """Create a schedule of a workflow type by its name, with its input as JSON bytes; otherwise as `create`."""
        check_named_start(type, input)
        start = _start_of(ChildRequest(type), input, StartOptions(**options))
        return await self._create(name, start, schedule, trigger=trigger, may_exist=may_exist, timeout=timeout)

    def get(self, name: str) -> ScheduleHandle:
        """Return a handle on the schedule of that name. Sends nothing; raises BadName."""
        return ScheduleHandle(self._connection, name)

    async def list(self, *, limit: int = 100, after: str = "") -> JsonList:
        """Return the schedules of all shards, sorted by name, beginning after the name `after`.

        Each is an object with the keys `name`, `type`, `when`, `timezone`, `overlap`, `paused`, `note`, `by_code`,
        `last_ms` and `next_ms` (ticks, epoch), `remaining`, `running`, `waiting`, `started`, `skipped`, `missed`.
        Raises BadInput for a `limit` that is not from 1 to 10,000; NotAnswered when some shard has no processor."""
        check_list_filters(None, limit)
        return await self._connection.reads.schedules(ListSchedules(limit=limit, after=after))

    async def declare(self, name: str, call: WorkflowCall[Any], schedule: Schedule) -> ScheduleHandle:
        """Create or change the schedule that code declares by `@workflow(schedule=…)`. Raises as `create`."""
        call.claim()
        start = _start_of(call.request, call.input, StartOptions())
        return await self._create(name, start, schedule, may_exist=True, by_code=True)

    async def _create(
        self,
        name: str,
        start: StartWorkflow,
        schedule: Schedule,
        *,
        trigger: bool = False,
        may_exist: bool = False,
        by_code: bool = False,
        timeout: Duration | None = None,
    ) -> ScheduleHandle:
        handle = self.get(name)
        command = CreateSchedule(
            workflow_id=handle.id,
            spec=_spec_of(schedule),
            paused=schedule.paused,
            note=schedule.note,
            trigger=trigger,
            may_exist=may_exist,
            by_code=by_code,
            **_action_of(start),
        )
        await handle.send(command, timeout)
        return handle


class ScheduleHandle:
    """A handle on one schedule; its methods raise ScheduleNotFound without one. `id`: that of its records."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self.name, self.id = name, schedule_id(name)

    async def pause(self, note: str = "") -> None:
        """Pause the schedule: ticks are dropped until it is resumed; `describe` shows the note.

        Raises CommandRejected, NotAnswered, LogError."""
        await self.send(PauseSchedule(workflow_id=self.id, note=note))

    async def resume(self, note: str = "") -> None:
        """Resume the schedule with its next tick. Raises as `pause` does."""
        await self.send(ResumeSchedule(workflow_id=self.id, note=note))

    async def trigger(self, *, overlap: Overlap | None = None) -> Run[Any] | None:
        """Start a run now, also of a paused schedule; return its handle, None if it waits or is skipped.

        `overlap`: in place of the schedule's. Raises BadInput, CommandRejected, NotAnswered, LogError."""
        if overlap is not None:
            check_overlap(overlap)
        accepted = await self.send(TriggerSchedule(workflow_id=self.id, overlap=overlap or ""))
        if not accepted.run_id:
            return None
        return Run(self._connection, accepted.workflow_id, accepted.run_id, adapter_for(Any))

    async def backfill(self, start: datetime, end: datetime, *, overlap: Overlap = "buffer_all") -> str:
        """Start the runs of all ticks from `start` to `end`, both included; return how many in a few words.

        `overlap`: what each does while a run of the schedule is open, in place of the schedule's own. A tick whose run
        has closed runs again. Raises BadInput, CommandRejected (more than 1,000 ticks), NotAnswered, LogError."""
        check_overlap(overlap)
        command = BackfillSchedule(workflow_id=self.id, from_ms=_moment(start), until_ms=_moment(end), overlap=overlap)
        return (await self.send(command)).note

    async def update(
        self,
        schedule: Schedule | None = None,
        call: Call[Any] | Startable[Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
    ) -> None:
        """Change when the schedule starts runs, what it starts, or both; what is not given stays as it is.

        The options are those of `Client.start` and go with `call`. A paused schedule stays so. Ticks of the past
        are not decided anew. Raises BadInput, CommandRejected, NotAnswered, LogError."""
        action: dict[str, Any] = {}
        if call is not None:
            asked = claimed_call(call, "schedule.update")
            options = StartOptions(
                "use_existing", headers, None, run_timeout, execution_timeout, retries, backoff, memo, search
            )
            action = _action_of(_start_of(asked.request, asked.input, options))
        spec = None if schedule is None else _spec_of(schedule)
        await self.send(UpdateSchedule(workflow_id=self.id, spec=spec, **action))

    async def delete(self) -> None:
        """Delete the schedule; its open runs go on. Raises as `pause` does."""
        await self.send(DeleteSchedule(workflow_id=self.id))

    async def describe(self) -> Json:
        """Return the schedule's state: the keys of `Schedules.list`, its `spec`, and what it starts.

        `upcoming_ms`: its next five ticks (epoch); `running_runs`, `waiting_runs`, `recent_runs` (its last ten), each
        with `workflow_id`, `run_id`, `tick_ms`, `status` and, if it was `rejected` or failed, a `message`. Raises
        NotAnswered, LogError."""
        with _about_schedules():
            return await self._connection.reads.schedule(DescribeSchedule(workflow_id=self.id))

    async def send(self, command: Command, timeout: Duration | None = None) -> Accepted:
        """Send a command to this schedule. For Penstock's own modules."""
        addressed = msgspec.structs.replace(command, **self._connection.reply_address())
        with _about_schedules():
            return await self._connection.send(addressed, deadline_after(timeout))

    def __repr__(self) -> str:
        return f"<schedule {self.name}>"


@contextmanager
def _about_schedules() -> Iterator[None]:
    """Raise errors about schedules in place of those about runs."""
    try:
        yield
    except WorkflowNotFound as error:
        raise ScheduleNotFound(str(error), reason=error.reason) from None
    except WorkflowAlreadyExists as error:
        raise ScheduleAlreadyExists(str(error), reason=error.reason) from None


def _spec_of(schedule: object) -> Any:
    if not isinstance(schedule, Schedule):
        raise BadInput(f"When to start is a Schedule, such as Schedule(cron='0 2 * * *'), not {schedule!r}.")
    return schedule.spec()


def _start_of(asked: ChildRequest, input: bytes, options: StartOptions) -> StartWorkflow:
    """The start of each run, without an id. Raises BadInput, BadDuration, PayloadTooLarge."""
    if asked.version:
        raise BadInput("A schedule starts the version that new runs take: leave `version` out of its call.")
    return start_command(asked, input, "-", options, {})


def _action_of(start: StartWorkflow) -> dict[str, Any]:
    return {name: getattr(start, name) for name in _ACTION}


def _moment(at: object) -> int:
    if not isinstance(at, datetime):
        raise BadInput(f"A backfill goes from one aware datetime to another, not {at!r}.")
    return due_ms(at, 0)
