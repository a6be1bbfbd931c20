"""Rows that a shard keeps, private to the engine: MessagePack arrays whose fields are only ever appended.

History rows are the exception: they are public records, the same bytes as on the topic `events`.
"""

from __future__ import annotations

import msgspec

from penstock.engine.core.limits import AWAITERS_FEW
from penstock.schemas.failure import Failure
from penstock.schemas.records.decisions import Listening
from penstock.schemas.values.bounds import ActivityBounds
from penstock.schemas.values.retry import RetryPolicy
from penstock.schemas.values.schedule_spec import ScheduleSpec


class Watch(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """What is known of an activity whose attempts report more than their end. Times are epoch, 0 for none.

    `queued_ms`: when the present attempt was put in its queue; `started_ms`: when its start was reported, by `worker`;
    `beat_ms`: when its last heartbeat came. `details` (JSON): of the last heartbeat of all attempts. `outside`: it is
    completed from outside. `due_ms`: the activity's entry of the due index."""

    bounds: ActivityBounds = ActivityBounds()
    queued_ms: int = 0
    started_ms: int = 0
    beat_ms: int = 0
    worker: str = ""
    details: bytes = b""
    outside: bool = False
    due_ms: int = 0


class ActivityRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """Pending activity. `retry_ms`: start of the next attempt (epoch), 0 while an attempt is with the workers.

    `stopping`: no attempt follows the present one, whose end the code awaits. `watch`: None for most activities.
    `seed`, `run_id`: of the run that requested it, and of that under which its attempt is with the workers, if they are
    others."""

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
    headers: dict[str, str] = {}
    stopping: bool = False
    watch: Watch | None = None
    seed: str = ""
    run_id: str = ""


class TimerRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """Pending timer of workflow code."""

    sequence: int
    due_ms: int


class ChildRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """Pending child workflow. `run_id`: the run that this parent started.

    `parent_close`: as in ChildScheduled. `state`: `pending`; `started`, if its start was awaited; `stopping`."""

    sequence: int
    workflow_type: str
    workflow_id: str
    run_id: str
    parent_close: str = ""
    state: str = "pending"


class KeptRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """Command that came before its run; fields as in CommandKept."""

    message_id: str
    until_ms: int
    partition: int
    offset: int
    key: bytes
    value: bytes
    signal: str = ""
    input: bytes = b""
    reason: str = ""


class UpdateRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """Update of a run, kept as long as the run is.

    `state`: `held`, `accepted`, `completed`, `failed` or `rejected`. `reply_to`: who waits for its end, or for its
    acceptance alone if `waits_accepted`; `also_accepted`, `also_ended`: further callers of each kind, who asked under
    the same id. `until_ms`: when the caller of a held one gives up (epoch). `content`: digest of its name and
    arguments."""

    message_id: str
    state: str
    reply_to: int
    waits_accepted: bool = False
    until_ms: int = 0
    result: bytes = b""
    failure: Failure | None = None
    update: str = ""
    content: str = ""
    also_accepted: tuple[int, ...] = ()
    also_ended: tuple[int, ...] = ()


class MessageRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Message that took effect in the run `run_id`, of the chain that the run `chain_id` began.

    `what`: its kind; `content`: digest of its name and value, empty where they do not matter."""

    run_id: str
    chain_id: str
    what: str
    content: str = ""


class PauseRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Pause of a run: since when (epoch), by whom and why."""

    at_ms: int
    by: str
    reason: str


class RunRow(msgspec.Struct, gc=False, array_like=True, kw_only=True):
    """Header of an id's current run; its key holds the workflow id. Changed by `evolve` alone.

    `resume_ms`: when its suspended activation goes on, 0 without one. `begins_ms`: when its code begins, 0 once it has.
    `first_run_id`: of its chain, if it is not the first itself; `chain_length`: number of runs before it.
    `run_timeout_ms`, `execution_until_ms`, `retry`, `retries`: as in WorkflowStarted. `deadline_ms`: when it is over
    its time (epoch), 0 for never.
    `details`, `search`: what its code says of it, and its search attributes (JSON). `has_memo`: its memo has a row.
    `closed_kept_ms`, `closed_kept_by_status`: as in WorkflowStarted. `pause`: of a paused run. `reset_from`,
    `reset_to`: the run whose history it goes on with, and from which event. `near`: pending activities that are stored
    in the header, by sequence (working.py says which)."""

    run_id: str
    seed: str
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
    headers: dict[str, str] = {}
    result: bytes = b""
    failure: Failure | None = None
    reason: str = ""
    blocked_reason: str = ""
    blocked_message: str = ""
    near: dict[int, ActivityRow] = {}
    listening: Listening | None = None
    resume_ms: int = 0
    closed_kept_ms: int = 0
    awaiters_max: int = AWAITERS_FEW
    pending_updates: int = 0
    begins_ms: int = 0
    first_run_id: str = ""
    chain_length: int = 0
    run_timeout_ms: int = 0
    execution_until_ms: int = 0
    deadline_ms: int = 0
    retry: RetryPolicy | None = None
    retries: int = 0
    details: bytes = b""
    search: bytes = b""
    has_memo: bool = False
    pause: PauseRow | None = None
    reset_from: str = ""
    reset_to: int = 0
    closed_kept_by_status: dict[str, int] = {}


class ScheduleAction(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """What a schedule starts; fields as in CreateSchedule."""

    workflow_type: str
    input: bytes
    headers: dict[str, str] = {}
    memo: bytes = b""
    search: bytes = b""
    run_timeout_ms: int = 0
    execution_timeout_ms: int = 0
    retry: RetryPolicy | None = None


class WaitingRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """Run of a schedule that waits for others to close; fields as in ScheduledRunWaits."""

    tick_ms: int
    workflow_id: str
    run_id: str
    overlap: str
    by_hand: bool = False


class RecentRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """One of the last runs of a schedule. `status`: `running`, or as in ReportScheduled."""

    tick_ms: int
    workflow_id: str
    run_id: str
    started_ms: int
    by_hand: bool = False
    status: str = "running"
    closed_ms: int = 0
    message: str = ""


class ScheduledRunRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """Open run of a schedule. `stopping`: `cancel` or `terminate` if it was asked to end, else empty."""

    tick_ms: int
    workflow_id: str
    run_id: str
    started_ms: int
    stopping: str = ""


class ScheduleRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """Schedule; its key holds its id. Changed by `evolve` alone.

    `last_ms`: the last tick that was decided, 0 for none; `next_ms`: the next one, 0 for none; `due_ms`: of its entry
    in the due index, 0 without one. `remaining`: ticks to take, -1 for all. `running`: number of open runs; `waiting`:
    those that wait for them, in order; `recent`: the last runs, in the order of their starts. `started`, `skipped`,
    `missed`: numbers of runs, and of ticks as in ScheduleAdvanced."""

    spec: ScheduleSpec
    action: ScheduleAction
    created_ms: int
    updated_ms: int
    by_code: bool = False
    paused: bool = False
    note: str = ""
    last_ms: int = 0
    next_ms: int = 0
    due_ms: int = 0
    remaining: int = -1
    running: int = 0
    waiting: tuple[WaitingRow, ...] = ()
    recent: tuple[RecentRow, ...] = ()
    started: int = 0
    skipped: int = 0
    missed: int = 0


class SharesRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """Shares of versions of a workflow type, whose name its key holds: in ten-thousandths, by version. Changed by
    `evolve` alone."""

    shares: dict[int, int]


class Mark(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Announcement of the input that is decided next, after an owner's unclean end (engine/runtime/suspicion.py).

    `key`: names the input, empty for none. `by`: the owner that announced it. `deaths`: of owners that had before."""

    key: bytes = b""
    by: str = ""
    deaths: int = 0


class ShardRow(msgspec.Struct, frozen=True, gc=False, array_like=True, kw_only=True):
    """The shard's own row.

    `decision`: number of its last decision; `now_ms`: floor of its clock; `transaction`: number of its last
    transaction; `offsets`: next offset of each input topic; `swept_hour`: hour of the log's time for which retention is
    done; `mark`: the input that is decided next, if that is dangerous; `log_ms`, `last_ms`, `leap_ms`: the log's time
    (log_clock.py)."""

    decision: int = 0
    now_ms: int = 0
    transaction: int = 0
    offsets: dict[str, int] = {}
    swept_hour: int = 0
    mark: Mark = Mark()
    log_ms: int = 0
    last_ms: int = 0
    leap_ms: int = 0


_encoder = msgspec.msgpack.Encoder()
pack = _encoder.encode
unpack_run = msgspec.msgpack.Decoder(RunRow).decode
unpack_activity = msgspec.msgpack.Decoder(ActivityRow).decode
unpack_timer = msgspec.msgpack.Decoder(TimerRow).decode
unpack_child = msgspec.msgpack.Decoder(ChildRow).decode
unpack_kept = msgspec.msgpack.Decoder(KeptRow).decode
unpack_update = msgspec.msgpack.Decoder(UpdateRow).decode
unpack_message = msgspec.msgpack.Decoder(MessageRow).decode
unpack_schedule = msgspec.msgpack.Decoder(ScheduleRow).decode
unpack_scheduled_run = msgspec.msgpack.Decoder(ScheduledRunRow).decode
unpack_shares = msgspec.msgpack.Decoder(SharesRow).decode
unpack_shard = msgspec.msgpack.Decoder(ShardRow).decode
