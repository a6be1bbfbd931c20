"""What one decision does with the ticks of a schedule: which run starts, waits, replaces another or is skipped.

A plan begins as the schedule's row says, and collects the events that lead from there to what it decides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from penstock.engine.core.limits import (
    SCHEDULE_MISSED_MAX,
    SCHEDULE_STARTS_MAX,
    SCHEDULE_TICKS_MAX,
    SCHEDULE_WAITING_MAX,
)
from penstock.engine.core.rows import ScheduledRunRow, ScheduleRow, WaitingRow
from penstock.schemas.ids import SCHEDULE_PREFIX
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.schedule import (
    ScheduleAdvanced,
    ScheduledRunDropped,
    ScheduledRunStarted,
    ScheduledRunStopped,
    ScheduledRunWaits,
)
from penstock.schemas.values.schedule_spec import ScheduleSpec
from penstock.schemas.values.ticks import first_tick, jitter_of, ticks

STARTED, WAITS, SKIPPED = "started", "waiting", "skipped"
"""What became of a run."""

_STOPS = {"cancel_other": "cancel", "terminate_other": "terminate"}


class Plan:
    """Decides ticks of one schedule at `now_ms` (epoch). `events`: what it decided, but for the new place in time."""

    def __init__(self, schedule_id: str, row: ScheduleRow, runs: Sequence[ScheduledRunRow], now_ms: int) -> None:
        self._id, self._row, self._now_ms = schedule_id, row, now_ms
        self._spec, self._paused = row.spec, row.paused
        self._stopping = {run.run_id: run.stopping for run in runs}
        self._waiting = list(row.waiting)
        self._left = row.remaining
        self._last_ms, self._next_ms = row.last_ms, row.next_ms
        self._skipped = self._missed = self._starts = 0
        self.events: list[Event] = []

    @property
    def left(self) -> int:
        """Ticks still to take, -1 for all."""
        return self._left

    # Ticks.

    def begin(self, spec: ScheduleSpec, remaining: int, *, paused: bool) -> None:
        """Go on with another spec, from its first tick after now."""
        self._spec, self._left, self._paused = spec, remaining, paused
        self._next_ms = first_tick(spec, self._now_ms)

    def resume(self) -> None:
        """Go on with the first tick that is not due yet, after a pause."""
        self._paused = False
        earliest_ms = max(self._last_ms, self._row.updated_ms, self._now_ms - self._spec.jitter_ms - 1)
        found = (tick_ms for tick_ms in ticks(self._spec, earliest_ms) if self._due_ms(tick_ms) > self._now_ms)
        self._next_ms = next(found, 0)

    def pause(self) -> None:
        """Take no ticks until it is resumed."""
        self._paused = True

    def take_due(self) -> None:
        """Decide the ticks that are due, so many that the decision stays bounded."""
        self._take(self._now_ms, SCHEDULE_TICKS_MAX)

    def take_past(self) -> None:
        """Decide all ticks up to now, those included whose jitter is not over: the schedule changes."""
        self._take(self._now_ms, SCHEDULE_TICKS_MAX, early=True)
        if not self._paused:
            self._pass_over(self._now_ms + 1)

    def _take(self, now_ms: int, count: int, *, early: bool = False) -> None:
        if self._paused:
            return
        spec = self._spec
        self._pass_over(now_ms - spec.catch_up_ms - spec.jitter_ms)
        following: Iterator[int] | None = None
        while self._next_ms and self._left and count and self._starts < SCHEDULE_STARTS_MAX:
            tick_ms = self._next_ms
            due_ms = self._due_ms(tick_ms)
            if (tick_ms if early else due_ms) > now_ms:
                break
            if due_ms + spec.catch_up_ms < now_ms:
                self._missed += 1
            else:
                self.offer(tick_ms, *self._ids(tick_ms), spec.overlap)
            following = following or ticks(spec, tick_ms)
            self._last_ms, self._next_ms = tick_ms, next(following, 0)
            count -= 1

    def _pass_over(self, horizon_ms: int) -> None:
        """Leave out the ticks before that time, as they are too old."""
        if not 0 < self._next_ms < horizon_ms or not self._left:
            return
        self._missed += 1
        self._last_ms = self._next_ms
        for _, tick_ms in zip(range(SCHEDULE_MISSED_MAX), ticks(self._spec, self._next_ms), strict=False):
            if tick_ms >= horizon_ms:
                break
            self._missed += 1
            self._last_ms = tick_ms
        self._next_ms = first_tick(self._spec, horizon_ms - 1)

    def _due_ms(self, tick_ms: int) -> int:
        return tick_ms + jitter_of(self._id, tick_ms, self._spec.jitter_ms)

    # Runs.

    def offer(self, tick_ms: int, workflow_id: str, run_id: str, overlap: str, *, by_hand: bool = False) -> str:
        """Decide a run as `overlap` says; returns what becomes of it."""
        row = WaitingRow(tick_ms=tick_ms, workflow_id=workflow_id, run_id=run_id, overlap=overlap, by_hand=by_hand)
        is_busy = bool(self._stopping or self._waiting)
        if (overlap == "allow_all" or not is_busy) and self._starts < SCHEDULE_STARTS_MAX:
            return self._start(row)
        if (
            overlap == "skip"
            or len(self._waiting) >= SCHEDULE_WAITING_MAX
            or (overlap == "buffer_one" and self._waiting)
        ):
            self._skipped += 1
            return SKIPPED
        if overlap in _STOPS:
            self._replace_others(_STOPS[overlap])
        if not by_hand and self._left > 0:
            self._left -= 1
        self._waiting.append(row)
        self.events.append(
            ScheduledRunWaits(
                tick_ms=tick_ms, run_workflow_id=workflow_id, run_id=run_id, overlap=overlap, by_hand=by_hand
            )
        )
        return WAITS

    def close(self, run_id: str) -> None:
        """A run has closed."""
        del self._stopping[run_id]

    def start_waiting(self) -> None:
        """Start what waits, as far as it may start now; a paused schedule starts by itself nothing of its ticks."""
        while self._starts < SCHEDULE_STARTS_MAX and (row := self._startable()) is not None:
            self._waiting.remove(row)
            self._start(row, waited=True)

    def _startable(self) -> WaitingRow | None:
        row = next((row for row in self._waiting if row.by_hand or not self._paused), None)
        return row if row is not None and (not self._stopping or row.overlap == "allow_all") else None

    def _start(self, row: WaitingRow, *, waited: bool = False) -> str:
        if not row.by_hand and not waited and self._left > 0:
            self._left -= 1
        self._starts += 1
        self._stopping[row.run_id] = ""
        self.events.append(
            ScheduledRunStarted(
                tick_ms=row.tick_ms,
                run_workflow_id=row.workflow_id,
                run_id=row.run_id,
                by_hand=row.by_hand,
                waited=waited,
            )
        )
        return STARTED

    def _replace_others(self, how: str) -> None:
        """Drop what waits, and end the open runs: one that is asked to cancel may still be terminated."""
        for row in self._waiting:
            self._skipped += 1
            self._left += not row.by_hand and self._left >= 0
            self.events.append(ScheduledRunDropped(run_id=row.run_id))
        self._waiting.clear()
        for run_id, asked in self._stopping.items():
            if asked not in {how, "terminate"}:
                self._stopping[run_id] = how
                self.events.append(ScheduledRunStopped(run_id=run_id, how=how))

    # The end.

    def decided(self) -> list[Event]:
        """The events, with the new place in time if it is another one."""
        if not self._left:
            self._next_ms = 0
        elif not self._row.remaining and not self._next_ms:  # a tick that waited was given back
            self._next_ms = first_tick(self._spec, self._now_ms)
        row, due_ms = self._row, self._next_due_ms()
        before = (row.last_ms, row.next_ms, row.due_ms)
        is_due = 0 < due_ms <= self._now_ms  # the entry of the due index is to be read once more
        if is_due or self._skipped or self._missed or before != (self._last_ms, self._next_ms, due_ms):
            self.events.append(
                ScheduleAdvanced(
                    last_ms=self._last_ms,
                    next_ms=self._next_ms,
                    due_ms=due_ms,
                    skipped=self._skipped,
                    missed=self._missed,
                )
            )
        return self.events

    def _next_due_ms(self) -> int:
        if self._startable() is not None:  # more than one decision starts
            return self._now_ms
        if self._paused or not self._next_ms:
            return 0
        return max(self._now_ms, self._due_ms(self._next_ms))

    def _ids(self, tick_ms: int) -> tuple[str, str]:
        """Workflow id and run id of a tick's run."""
        return run_workflow_id(self._id, tick_ms), _digest(f"{self._id}/{self._row.created_ms}/{tick_ms}")


def run_workflow_id(schedule_id: str, tick_ms: int) -> str:
    """Workflow id of a tick's run: the schedule's name, and the tick in UTC."""
    at = datetime.fromtimestamp(tick_ms / 1000, UTC).replace(tzinfo=None)
    moment = at.isoformat(timespec="milliseconds" if tick_ms % 1000 else "seconds")
    return f"{schedule_id.removeprefix(SCHEDULE_PREFIX)}-{moment}Z"


def by_hand_run_id(schedule_id: str, message_id: str, tick_ms: int) -> str:
    """Run id of a run that the command `message_id` asks for."""
    return _digest(f"{schedule_id}/by hand/{message_id}/{tick_ms}")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
