"""Records of schedules. The workflow id of each is `schedule:` and the schedule's name.

A schedule has rows and no history, so its events stand on the topic `events` alone, without a number."""

from __future__ import annotations

from typing import ClassVar

from penstock.schemas.records.kinds import Command, Event
from penstock.schemas.values.retry import RetryPolicy
from penstock.schemas.values.schedule_spec import ScheduleSpec


class CreateSchedule(Command, frozen=True, gc=False, kw_only=True):
    """Create a schedule, which starts runs of `workflow_type`.

    `spec`: when. `input`, `headers`, `memo`, `search`, `run_timeout_ms`, `execution_timeout_ms`, `retry`: of every run,
    as in StartWorkflow. `paused`, `note`: it begins paused, and why. `trigger`: start a run at once, too. `may_exist`:
    a schedule that is there is changed as by UpdateSchedule, and the command is not refused. `by_code`: a decorator
    declares the schedule."""

    workflow_type: str
    spec: ScheduleSpec
    input: bytes = b""
    headers: dict[str, str] = {}
    memo: bytes = b""
    search: bytes = b""
    run_timeout_ms: int = 0
    execution_timeout_ms: int = 0
    retry: RetryPolicy | None = None
    paused: bool = False
    note: str = ""
    trigger: bool = False
    may_exist: bool = False
    by_code: bool = False


class UpdateSchedule(Command, frozen=True, gc=False, kw_only=True):
    """Change a schedule. `spec`: when from now on, null for as before. With a `workflow_type`, the runs change: it and
    the fields after it, as in CreateSchedule, take the place of all of them. Whether it is paused stays."""

    spec: ScheduleSpec | None = None
    workflow_type: str = ""
    input: bytes = b""
    headers: dict[str, str] = {}
    memo: bytes = b""
    search: bytes = b""
    run_timeout_ms: int = 0
    execution_timeout_ms: int = 0
    retry: RetryPolicy | None = None


class PauseSchedule(Command, frozen=True, gc=False, kw_only=True):
    """Pause a schedule: its ticks are dropped until it is resumed. `note`: why."""

    note: str = ""


class ResumeSchedule(Command, frozen=True, gc=False, kw_only=True):
    """Resume a schedule with the next tick. `note`: why."""

    note: str = ""


class TriggerSchedule(Command, frozen=True, gc=False, kw_only=True):
    """Start a run now, also of a paused schedule. Empty `overlap`: that of the schedule."""

    overlap: str = ""


class BackfillSchedule(Command, frozen=True, gc=False, kw_only=True):
    """Start the runs of all ticks from `from_ms` to `until_ms`, both included (epoch, in the past).

    `overlap`: what each does while a run of the schedule is open, in place of the schedule's own."""

    from_ms: int
    until_ms: int
    overlap: str = "buffer_all"


class DeleteSchedule(Command, frozen=True, gc=False, kw_only=True):
    """Delete a schedule. Its open runs go on."""


class ReportScheduled(Command, frozen=True, gc=False, kw_only=True):
    """Report the end of a run from its shard to that of the schedule that started it.

    `status`: `completed` | `failed` | `cancelled` | `terminated` | `rejected` (it never started, as `message` says)."""

    FROM_SHARDS: ClassVar[bool] = True

    run_workflow_id: str
    run_id: str
    status: str
    message: str = ""


class DescribeSchedule(Command, frozen=True, gc=False, kw_only=True):
    """Return the state of a schedule. `timeout_ms` as for DescribeWorkflow."""

    timeout_ms: int = 0


class ListSchedules(Command, frozen=True, gc=False, kw_only=True):
    """Return a page of the schedules of the shard to whose partition the command was appended, sorted by name.

    `after`, `limit`, `timeout_ms` as for ListWorkflows. `workflow_id` stays empty."""

    INTERNAL: ClassVar[frozenset[str]] = frozenset({"workflow_id"})

    workflow_id: str = ""
    limit: int = 100
    after: str = ""
    timeout_ms: int = 0


class ScheduleCreated(Event, frozen=True, gc=False, kw_only=True):
    """The schedule exists from now on; fields as in CreateSchedule. Unnumbered."""

    spec: ScheduleSpec
    workflow_type: str
    input: bytes
    headers: dict[str, str] = {}
    memo: bytes = b""
    search: bytes = b""
    run_timeout_ms: int = 0
    execution_timeout_ms: int = 0
    retry: RetryPolicy | None = None
    by_code: bool = False


class ScheduleUpdated(Event, frozen=True, gc=False, kw_only=True):
    """The schedule was changed; fields as in CreateSchedule, all of them as they are from now on. Unnumbered."""

    spec: ScheduleSpec
    workflow_type: str
    input: bytes
    headers: dict[str, str] = {}
    memo: bytes = b""
    search: bytes = b""
    run_timeout_ms: int = 0
    execution_timeout_ms: int = 0
    retry: RetryPolicy | None = None
    by_code: bool = False


class SchedulePaused(Event, frozen=True, gc=False, kw_only=True):
    """The schedule takes no ticks until it is resumed. Unnumbered."""

    note: str = ""


class ScheduleResumed(Event, frozen=True, gc=False, kw_only=True):
    """The schedule takes ticks again. Unnumbered."""

    note: str = ""


class ScheduleTriggered(Event, frozen=True, gc=False, kw_only=True):
    """A run was asked for, beside the ticks. Unnumbered."""

    overlap: str


class ScheduleBackfilled(Event, frozen=True, gc=False, kw_only=True):
    """The runs of a range of ticks were asked for; fields as in BackfillSchedule. Unnumbered."""

    from_ms: int
    until_ms: int
    overlap: str


class ScheduleAdvanced(Event, frozen=True, gc=False, kw_only=True):
    """All ticks before `next_ms` are decided. Unnumbered.

    `last_ms`: the last tick that was decided, 0 for none; `next_ms`: the next one, 0 for none; `due_ms`: when it, or
    something that waits, is decided, 0 for never (epoch).
    `skipped`: ticks that started no run because of another one; `missed`: ticks that were too old."""

    last_ms: int
    next_ms: int
    due_ms: int
    skipped: int = 0
    missed: int = 0


class ScheduledRunStarted(Event, frozen=True, gc=False, kw_only=True):
    """A run of the schedule is started. `tick_ms`: of its tick (epoch); `by_hand`: it was triggered or backfilled;
    `waited`: since ScheduledRunWaits. Unnumbered."""

    tick_ms: int
    run_workflow_id: str
    run_id: str
    by_hand: bool = False
    waited: bool = False


class ScheduledRunWaits(Event, frozen=True, gc=False, kw_only=True):
    """A run of the schedule is started when others have closed; fields as in ScheduledRunStarted. Unnumbered."""

    tick_ms: int
    run_workflow_id: str
    run_id: str
    overlap: str
    by_hand: bool = False


class ScheduledRunDropped(Event, frozen=True, gc=False, kw_only=True):
    """A run that waited is not started: a later tick takes its place. Unnumbered."""

    run_id: str


class ScheduledRunStopped(Event, frozen=True, gc=False, kw_only=True):
    """An open run of the schedule is asked to end, since a later one is to start. `how`: `cancel` | `terminate`.
    Unnumbered."""

    run_id: str
    how: str


class ScheduledRunClosed(Event, frozen=True, gc=False, kw_only=True):
    """A run of the schedule has closed; fields as in ReportScheduled. Unnumbered."""

    run_id: str
    status: str
    message: str = ""


class ScheduleDeleted(Event, frozen=True, gc=False, kw_only=True):
    """The schedule is no more. Unnumbered."""
