"""Mutations of the engine, each without one safeguard, which the simulator must notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any
from unittest.mock import patch

import msgspec

from penstock.engine.core import effects as effects_module
from penstock.engine.core import evolve as evolve_module
from penstock.engine.core.expiry import Expiry
from penstock.engine.core.keys import NEVER_MS, TIMER, parse_closed_key, run_key
from penstock.engine.core.machines import activity as activity_module
from penstock.engine.core.machines import attempt as attempt_module
from penstock.engine.core.machines import child as child_module
from penstock.engine.core.machines import run as run_module
from penstock.engine.core.machines import timer as timer_module
from penstock.engine.core.retry import retry_delay_ms
from penstock.engine.execution.matching import Matcher
from penstock.engine.execution.program import Program
from penstock.engine.runtime import deduplicate as deduplicate_module
from penstock.engine.runtime import driver as driver_module
from penstock.engine.runtime import due as due_module
from penstock.engine.runtime import openings as openings_module
from penstock.engine.runtime import takeover as takeover_module
from penstock.engine.runtime.blocked import BlockedRuns
from penstock.engine.runtime.driver import Driver
from penstock.engine.runtime.due import DueTimers
from penstock.engine.runtime.encode import Encoder
from penstock.engine.runtime.shard import Shard
from penstock.engine.runtime.step import Step
from penstock.engine.runtime.takeover import Ownership
from penstock.engine.store.changelog import RestoreReport, Restoring, restoring, stored_offset
from penstock.engine.store.store import Store
from penstock.schemas.errors import StoreAheadOfLog
from penstock.schemas.records.activity import ActivityRetried
from penstock.schemas.records.child import ChildScheduled
from penstock.schemas.records.external import RecordPublished
from penstock.schemas.records.timer import TimerCancelled, TimerFired
from penstock.topics.log import StoredRecord
from tests.simulation import dialogue_mutations, operator_mutations, schedule_mutations, version_mutations
from tests.simulation.broker import Broker, Group
from tests.simulation.client import SimLog
from tests.simulation.mutation import Mutation
from tests.simulation.process import Process
from tests.simulation.publications import AUDIT
from tests.simulation.weather import Weather


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Remove the safeguard of that name during the block."""
    with ExitStack() as patches:
        MUTATIONS[name].enter(patches)
        yield


# The driver.


def _store_first(self: Driver, layers: list[Any], suspect: Any, submit: Callable[..., None] = Driver._submit) -> None:
    for layer in layers:
        self._held[layer.shard].store.write(dict(layer.writes))
    submit(self, layers, suspect)


def _keep_next_layer(self: Driver, *, wait: bool, settle: Callable[..., bool] = Driver.settle) -> bool:
    settle(self, wait=wait)
    return True


def _no_restore(self: Driver) -> None:
    self._commits.recover(1)
    self._start(list(self._held))
    self._went_back = False


def _no_seek(self: Driver, begin_again: Callable[[Driver], None] = Driver._begin_again) -> None:
    with patch.object(Driver, "_start", lambda self, numbers: None):
        begin_again(self)


def _no_recover(self: Driver, begin_again: Callable[[Driver], None] = Driver._begin_again) -> None:
    with patch.object(self._commits, "recover", lambda timeout_s: None):
        begin_again(self)


def _no_settle(self: Driver, partitions: Any, *, lost: bool, released: Callable[..., None] = Driver.released) -> None:
    with patch.object(Driver, "settle", lambda self, *, wait: True):
        released(self, partitions, lost=lost)


def _no_predecessor(self: Ownership, shard: int, now_ms: int) -> None:
    self._announce([shard], now_ms, released=False)


def _executions_stay(*arguments: Any, bring_up: Callable[..., bool] = driver_module.bring_up) -> bool:
    bring_up(*arguments)
    return False


def _ahead_is_trusted(log: Any, topic: str, shard: int, store: Store, **options: Any) -> Restoring:
    try:
        return (yield from restoring(log, topic, shard, store, **options))
    except StoreAheadOfLog:
        seen = stored_offset(store) or 0
        return RestoreReport(from_offset=seen, to_offset=seen, records=0, wiped=False)


# The shard.


def _keep_coroutines(self: Shard) -> None:
    self._overlay.layers.clear()
    self._load()
    self.blocked.try_again()


def _no_floor(self: Shard, load: Callable[[Shard], None] = Shard._load) -> None:
    load(self)
    self._now_ms = 0


def _early(due_ms: int, due_bound: Callable[[int], bytes] = due_module.due_bound) -> bytes:
    return due_bound(due_ms + 40)


LATE_MS = 3_600_000


def _due_bound_late(due_ms: int, due_bound: Callable[[int], bytes] = due_module.due_bound) -> bytes:
    return due_bound(max(0, due_ms - LATE_MS))


def _due_ms_late(key: bytes, due_ms_of: Callable[[bytes], int] = due_module.due_ms_of) -> int:
    return due_ms_of(key) + LATE_MS


def _set_late(self: Program, due_ms: int, timer_started: Callable[..., int] = Program.timer_started) -> int:
    return timer_started(self, due_ms + 100)


def _rest_is_forgotten(
    self: DueTimers, now_ms: int, count: int, take: Callable[..., list[Any]] = DueTimers.take
) -> list[Any]:
    found = take(self, now_ms, count)
    if len(found) >= count:
        self._next_ms, self._scanned_ms = NEVER_MS, now_ms
    return found


def _sweep_unchecked(self: Expiry, found: Any, key: bytes) -> bool:
    closed = parse_closed_key(key)
    writes = found.setdefault(closed.workflow_id, {})
    self._delete_history(writes, closed.workflow_id, closed.run_id)
    writes[run_key(closed.workflow_id)] = writes[key] = None
    return True


def _take_recorded(self: Matcher, request: Any, rewrite: Any) -> None:
    if self._recorded:
        self._recorded.popleft()


def _deadline_left(pending: Any, now_ms: int, details: bytes, beaten: Any = attempt_module.beaten) -> Any:
    after = beaten(pending, now_ms, details)
    before = pending.watch
    left = msgspec.structs.replace(after.watch, beat_ms=before.beat_ms, started_ms=before.started_ms)
    return msgspec.structs.replace(after, watch=left)


def _silence_goes_on(
    pending: Any, retry_ms: int, failure: Any, details: bytes, waiting: Any = attempt_module.waiting
) -> Any:
    after, before = waiting(pending, retry_ms, failure, details), pending.watch
    if before is None:
        return after
    left = msgspec.structs.replace(after.watch, beat_ms=before.beat_ms, started_ms=before.started_ms)
    return msgspec.structs.replace(after, watch=left)


def _details_lost(
    pending: Any, retry_ms: int, failure: Any, details: bytes, waiting: Any = attempt_module.waiting
) -> Any:
    return waiting(pending, retry_ms, failure, b"")


def _any_attempt(run: Any, result: Any) -> str:
    row = run.row
    if row is None or row.run_id != result.run_id or run.activity(result.sequence) is None:
        return "its activity has ended"
    return ""


def _jitter(policy: Any, failure: Any, attempt: int, turns: Iterator[int] = count()) -> int | None:
    delay_ms = retry_delay_ms(policy, failure, attempt)
    return None if delay_ms is None else delay_ms + next(turns) % 7


def _first_attempt_again(self: Any, records: Any, workflow_id: str, found: Any) -> Any:
    if found.tasks:
        found.tasks.append(found.tasks[0])
    return _effects(self, records, workflow_id, found)


_effects = Encoder.effects


def _timer_left(run: Any, event: Any, cause: Any) -> None:
    run.row.pending_timers -= 1
    run.writes[run.key(TIMER, event.sequence)] = None


_start_child = child_module._start_child


def _headers_lost_on_retry(
    found: Any, run: Any, event: Any, shard: int, send: Any = activity_module._send_again
) -> None:
    send(found, run, event, shard)
    found.tasks[-1] = msgspec.structs.replace(found.tasks[-1], headers={})


def _headers_lost_at_child(
    found: Any, run: Any, event: Any, shard: int, start: Any = child_module._start_child
) -> None:
    start(found, run, event, shard)
    found.commands[-1] = msgspec.structs.replace(found.commands[-1], headers=event.headers)


def _replaced_timers_left(run: Any, row: Any, drop: Any = run_module.drop_pending) -> None:
    if row.reason.startswith("replaced by run"):
        row.pending_timers = 0
    drop(run, row)


def _replaced_children_left(run: Any, row: Any, drop: Any = run_module.drop_pending) -> None:
    drop(run, row)
    if row.reason.startswith("replaced by run"):
        run.dropped_children = ()


def _end_unrecorded(
    self: Step, found: Any, run: Any, decision: Any, *arguments: Any, apply: Any = Step._apply
) -> list[Any]:
    records: list[Any] = apply(self, found, run, decision, *arguments)
    return [] if getattr(decision.events[-1], "reason", "").startswith("replaced by run") else records


# The log.


def _impatient(self: SimLog, where: tuple[str, int], start: int, end: int) -> Iterator[list[StoredRecord]]:
    yield self.broker.partition(where).committed(start, 1_000_000)[0]


# Weather in which the safeguards are needed.


def _zombies(weather: Weather) -> None:
    weather.processes, weather.chaos, weather.chaos_kinds = 3, 3.0, ["coup"]
    weather.turns, weather.pause, weather.deaf = 300, 0.02, 0.3
    weather.crash_in_call = weather.crash_at_store = weather.unavailable = weather.commit_fault = 0.0


def _late_zombies(weather: Weather) -> None:
    """Zombies, on a log whose committed offsets do not wait: that would replace the missing safeguard."""
    _zombies(weather)
    weather.sends_late, weather.awaits_offsets = True, False


def _misnamed(weather: Weather) -> None:
    """Zombies that are not fenced, as `registry` names other processes than the owners."""
    _late_zombies(weather)
    weather.chaos_kinds = ["coup", "late_announcement"]


def _sleepers(weather: Weather) -> None:
    _zombies(weather)
    weather.pause, weather.chaos, weather.chaos_kinds = 0.15, 1.0, ["coup", "stop", "expel"]


def _doubts(weather: Weather) -> None:
    weather.commit_fault, weather.commit_kinds = 0.4, ["unknown", "delayed"]
    weather.chaos, weather.chaos_kinds, weather.processes = 1.5, ["stop", "expel"], 2


def _handovers(weather: Weather) -> None:
    weather.commit_fault, weather.commit_kinds = 0.6, ["delayed"]
    weather.chaos, weather.chaos_kinds, weather.processes, weather.turns = 5.0, ["stop"], 2, 300
    weather.deaf = weather.unavailable = weather.crash_in_call = weather.crash_at_store = weather.pause = 0.0
    weather.awaits_offsets = False  # it would wait instead


def _clocks(weather: Weather) -> None:
    weather.chaos, weather.chaos_kinds = 3.0, ["skew", "kill"]


def _small_window(weather: Weather) -> None:
    weather.audit_window, weather.commit_fault, weather.commit_kinds = 1, 0.4, ["aborted"]


def _days(weather: Weather) -> None:
    weather.days, weather.turns = 0.4, 600


def _aged(weather: Weather) -> None:
    """Old copies of a disk come back after the log has dropped deletions."""
    _days(weather)
    weather.disk_trouble, weather.chaos, weather.chaos_kinds = 0.6, 3.0, ["compact", "kill", "stop"]


def _moved_disks(weather: Weather) -> None:
    weather.foreign_disk, weather.chaos, weather.chaos_kinds = 0.5, 3.0, ["kill", "stop"]
    weather.turns, weather.disk_trouble = 600, 0.0


def _losses(weather: Weather) -> None:
    weather.chaos, weather.chaos_kinds = 3.0, ["lose", "kill"]


def _few_timers(weather: Weather) -> None:
    weather.timers_max = 1


def _bad_releases(weather: Weather) -> None:
    weather.builds, weather.run_cache_bytes = "broken", 1
    weather.chaos, weather.chaos_kinds = 3.0, ["kill", "stop"]


def _halts(weather: Weather) -> None:
    weather.halts = 0.3


WEATHERS = (_zombies, _late_zombies, _doubts, _handovers, _clocks, _days, _aged, _losses, _few_timers, _bad_releases)
"""Weather for mutations of which it is not known what they need."""


def _published_again(found: Any, run: Any, event: Any, shard: int, again: Any = activity_module._send_again) -> None:
    again(found, run, event, shard)
    found.published.append(RecordPublished(sequence=event.sequence, topic=AUDIT, value=b"again", key=run.workflow_id))


MUTATIONS: Mapping[str, Mutation] = {
    "the store is written before the commit": Mutation(Driver, "_submit", _store_first),
    "the next layer survives an abort": Mutation(Driver, "settle", _keep_next_layer),
    "nothing is restored after an unknown outcome": Mutation(Driver, "_begin_again", _no_restore, _doubts),
    "inputs are not sought back after an abort": Mutation(Driver, "_begin_again", _no_seek),
    "the transactional id is not recovered after a failure": Mutation(Driver, "_begin_again", _no_recover, _doubts),
    "a released shard's transaction is not awaited": Mutation(Driver, "released", _no_settle),
    "the predecessor is not fenced": Mutation(Ownership, "take", _no_predecessor, _late_zombies),
    "touched coroutines survive an abort": Mutation(Shard, "discard", _keep_coroutines),
    "the shard's clock has no floor": Mutation(Shard, "_load", _no_floor, _clocks),
    "timers fire early": Mutation(due_module, "due_bound", _early),
    "timers fire an hour late": Mutation(
        due_module, "due_bound", _due_bound_late, also=((due_module, "due_ms_of", _due_ms_late),)
    ),
    "timers are set a tenth of a second too late": Mutation(Program, "timer_started", _set_late),
    "due timers beyond the bound of a turn are lost": Mutation(DueTimers, "take", _rest_is_forgotten, _few_timers),
    "BLOCKED runs are tried again without a dry run": Mutation(BlockedRuns, "_would_go_on", lambda *arguments: True),
    "a replay compares nothing": Mutation(
        Matcher, "match", _take_recorded, _bad_releases, also=((Matcher, "finish", lambda *arguments, **options: []),)
    ),
    "closed runs are never deleted": Mutation(Expiry, "sweep", lambda *arguments: {}, _days),
    "an id is deleted with its first closed run": Mutation(Expiry, "_delete_run", _sweep_unchecked, _days),
    "executions stay in memory when their rows are restored": Mutation(
        driver_module, "bring_up", _executions_stay, _late_zombies
    ),
    "a store that is ahead of the log is used": Mutation(
        takeover_module,
        "restoring",
        _ahead_is_trusted,
        _moved_disks,
        also=((openings_module, "require_state", lambda *arguments: None),),  # it notices most of them as well
    ),
    "a store is used after the log has dropped deletions": Mutation(
        takeover_module, "_is_stale", lambda *arguments: False, _aged
    ),
    "a shard is opened although its state is missing": Mutation(
        openings_module, "require_state", lambda *arguments: None, _losses
    ),
    "inputs are trimmed as soon as they are decided": Mutation(
        Shard, "committed_positions", Shard.positions, _small_window
    ),
    "a heartbeat leaves the deadline as it was": Mutation(attempt_module, "beaten", _deadline_left),
    "an attempt that has failed keeps its silence": Mutation(attempt_module, "waiting", _silence_goes_on),
    "details are lost with a failure": Mutation(attempt_module, "waiting", _details_lost),
    "deciding is left to chance": Mutation(attempt_module, "retry_delay_ms", _jitter),
    "messages are not remembered": Mutation(deduplicate_module, "run_of_message", lambda *arguments: None),
    "attempts of a paused run begin": Mutation(activity_module, "hold_attempts", lambda run: None, _halts),
    "results of any attempt count": Mutation(activity_module, "_lateness", _any_attempt),
    "a record is published a second time, after a retry": Mutation(
        activity_module, "_send_again", _published_again, table=(effects_module.EFFECTS, (ActivityRetried,))
    ),
    "a task is sent twice": Mutation(Encoder, "effects", _first_attempt_again),
    "fired timers stay in the index": Mutation(
        timer_module, "_on_ended", _timer_left, table=(evolve_module.EVOLVERS, (TimerFired, TimerCancelled))
    ),
    "headers are lost on retry": Mutation(
        activity_module, "_send_again", _headers_lost_on_retry, table=(effects_module.EFFECTS, (ActivityRetried,))
    ),
    "headers do not reach children": Mutation(
        child_module, "_start_child", _headers_lost_at_child, table=(effects_module.EFFECTS, (ChildScheduled,))
    ),
    "all runs of an id have one seed": Mutation(run_module, "seed_of", lambda workflow_id, run_id, **_: "0" * 16),
    "timers of a replaced run stay": Mutation(run_module, "drop_pending", _replaced_timers_left),
    "children of a replaced run stay": Mutation(run_module, "drop_pending", _replaced_children_left),
    "the end of a replaced run is not recorded": Mutation(Step, "_apply", _end_unrecorded),
    "the group's generation is not checked": Mutation(
        Group, "admits", lambda self, member, generation: True, _sleepers
    ),
    "epochs are not checked": Mutation(Broker, "_fence", lambda self, transactional_id, epoch: None, _zombies),
    "a takeover does not wait for offsets in open transactions": Mutation(
        Process, "awaits_offsets", lambda self: False, _misnamed
    ),
    "a restore does not wait for open transactions": Mutation(SimLog, "_batches", _impatient, _handovers),
    **dialogue_mutations.MUTATIONS,
    **schedule_mutations.MUTATIONS,
    **operator_mutations.MUTATIONS,
    **version_mutations.MUTATIONS,
}
