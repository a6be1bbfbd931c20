"""Schedules in a simulation: a scenario of random ones, and the judge of what they did, from their events alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from penstock.schemas.records.schedule import (
    CreateSchedule,
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    ScheduleAdvanced,
    ScheduleCreated,
    ScheduleDeleted,
    ScheduledRunClosed,
    ScheduledRunDropped,
    ScheduledRunStarted,
    ScheduledRunWaits,
    SchedulePaused,
    ScheduleResumed,
    ScheduleTriggered,
    ScheduleUpdated,
    TriggerSchedule,
    UpdateSchedule,
)
from penstock.schemas.values.schedule_spec import OVERLAPS, ScheduleSpec
from penstock.schemas.values.ticks import jitter_of
from tests.simulation.auditor import Auditor
from tests.simulation.scenarios import Move, Ready, Scenario

YEAR_MS = 365 * 86_400_000
COUNTED_MAX = 1_000
Decided = tuple[int, Sequence[Any]]
"""Time of a decision, and its events."""


def exists(schedule_id: str) -> Ready:
    """Whether the schedule was created."""
    return lambda auditor: schedule_id in auditor.schedules


def scheduled(random: Random, name: str) -> Scenario:
    """A schedule with a few ticks to take, which is paused, changed, triggered and deleted, or is not."""
    id = f"schedule:{name}"
    spec = ScheduleSpec(
        every_ms=random.choice((2_000, 20_000, 60_000)),
        overlap=random.choice(OVERLAPS),
        jitter_ms=random.choice((0, 0, 1_500, 30_000)),
        catch_up_ms=random.choice((10_000, YEAR_MS, YEAR_MS)),
        remaining=random.randint(1, 5),
    )
    create = CreateSchedule(workflow_id=id, workflow_type="sim_chain", input=b"2", spec=spec)
    moves = [Move(lambda client: client.ask(create, hopeless=True))]
    if random.random() < 0.4:
        moves.append(Move(lambda client: client.ask(PauseSchedule(workflow_id=id), hopeless=True), exists(id)))
        moves.append(Move(lambda client: client.ask(ResumeSchedule(workflow_id=id), hopeless=True), exists(id)))
    if random.random() < 0.4:
        trigger = TriggerSchedule(workflow_id=id, overlap=random.choice(("", *OVERLAPS)))
        moves.append(Move(lambda client: client.ask(trigger, hopeless=True), exists(id)))
    if random.random() < 0.3:
        update = UpdateSchedule(workflow_id=id, spec=ScheduleSpec(every_ms=5_000, overlap="buffer_all", remaining=2))
        moves.append(Move(lambda client: client.ask(update, hopeless=True), exists(id)))
    if random.random() < 0.2:
        moves.append(Move(lambda client: client.ask(DeleteSchedule(workflow_id=id), hopeless=True), exists(id)))
    return Scenario(id, moves, lambda auditor: " and ".join(problems(auditor, id)))


def problems(auditor: Auditor, schedule_id: str) -> Iterator[str]:
    """What is wrong with what the schedule of that id did."""
    decided = auditor.schedules.get(schedule_id)
    if not decided:
        yield f"{schedule_id} was never created"
        return
    judge = _Judge(auditor, schedule_id)
    for now_ms, events in decided:
        yield from judge.follow(now_ms, events)
    yield from judge.end()


class _Judge:
    """Follows the events of one schedule, and computes by itself which ticks each decision had to decide."""

    def __init__(self, auditor: Auditor, schedule_id: str) -> None:
        self._auditor, self._id = auditor, schedule_id
        self._spec = ScheduleSpec()
        self._paused = self._exists = False
        self._next_ms = self._left = 0
        self._open: set[str] = set()
        self._waiting: dict[str, Any] = {}
        self._ticks: set[tuple[int, int]] = set()
        self._created = 0

    def follow(self, now_ms: int, events: Sequence[Any]) -> Iterator[str]:
        """Judge one decision."""
        by_hand = [event.overlap for event in events if isinstance(event, ScheduleTriggered)]
        changes = any(isinstance(event, ScheduleCreated | ScheduleUpdated | ScheduleResumed) for event in events)
        accepted: list[int] = []
        for event in events:
            match event:
                case ScheduleCreated():
                    self._exists, self._paused, self._spec = True, False, event.spec
                    self._left, self._created = event.spec.remaining, self._created + 1
                case ScheduleUpdated():
                    self._left = event.spec.remaining if event.spec.remaining != self._spec.remaining else self._left
                    self._spec = event.spec
                case SchedulePaused() | ScheduleResumed():
                    self._paused = isinstance(event, SchedulePaused)
                case ScheduledRunStarted():
                    yield from self._start(event, by_hand)
                    if not (event.by_hand or event.waited):
                        accepted.append(event.tick_ms)
                        self._left -= 1
                case ScheduledRunWaits():
                    self._waiting[event.run_id] = event
                    if not event.by_hand:
                        accepted.append(event.tick_ms)
                        self._left -= 1
                case ScheduledRunDropped():
                    self._left += not self._waiting.pop(event.run_id).by_hand
                case ScheduledRunClosed():
                    yield from self._close(event)
                case ScheduleDeleted():
                    self._exists = False
        yield from self._advance(now_ms, events, accepted, changes=changes, by_hand=bool(by_hand))
        if self._left < 0:
            yield f"{self._id} took more ticks than it had"

    def _start(self, event: ScheduledRunStarted, by_hand: Sequence[str]) -> Iterator[str]:
        waited = self._waiting.pop(event.run_id, None)
        if event.waited != (waited is not None):
            yield f"{event} of {self._id} did not wait as it says"
        overlap = waited.overlap if waited is not None else by_hand[0] if event.by_hand else self._spec.overlap
        if self._open and overlap != "allow_all":
            yield f"{self._id} started {event.run_workflow_id} beside {sorted(self._open)}, and is to {overlap}"
        if not event.by_hand and (event.tick_ms, self._created) in self._ticks:
            yield f"{self._id} started the tick {event.tick_ms} twice"
        if not event.by_hand and self._paused:
            yield f"{self._id} started {event.run_workflow_id} while it was paused"
        self._ticks.add((event.tick_ms, self._created))
        self._open.add(event.run_id)
        found = self._auditor.runs.get(event.run_workflow_id, [])
        if sum(run.run_id == event.run_id for run in found) != 1:
            yield f"{self._id} started {event.run_workflow_id}, which has the runs {found}"

    def _close(self, event: ScheduledRunClosed) -> Iterator[str]:
        if event.run_id not in self._open:
            yield f"{self._id} noted the end of {event.run_id}, which was not open"
        self._open.discard(event.run_id)
        runs = [run for found in self._auditor.runs.values() for run in found if run.run_id == event.run_id]
        if [run.status for run in runs] != [event.status]:
            yield f"{self._id} noted that {event.run_id} is {event.status}, and it is {[run.status for run in runs]}"

    def _advance(
        self, now_ms: int, events: Sequence[Any], accepted: Sequence[int], *, changes: bool, by_hand: bool
    ) -> Iterator[str]:
        """Compare the ticks that a decision passed with what it says of them."""
        advanced = next((event for event in events if isinstance(event, ScheduleAdvanced)), None)
        if advanced is None:
            return
        before_ms, self._next_ms = self._next_ms, advanced.next_ms
        if changes or by_hand or not self._left or not advanced.next_ms or not before_ms:
            return
        spec = self._spec
        passed = range(before_ms, advanced.next_ms, spec.every_ms)
        old = [tick_ms for tick_ms in passed if self._due_ms(tick_ms) + spec.catch_up_ms < now_ms]
        if set(accepted) - set(passed) or sorted(set(accepted)) != list(accepted):
            yield f"{self._id} accepted {accepted}, which are not among {passed}"
        if advanced.missed <= COUNTED_MAX and len(accepted) + advanced.skipped + advanced.missed < len(passed):
            yield f"{self._id} left out ticks of {passed}: it accepted {accepted} of them, and says {advanced}"
        if advanced.missed > len(old):
            yield f"{self._id} missed {advanced.missed} ticks of {passed} at {now_ms}, and {len(old)} are too old"
        if any(self._due_ms(tick_ms) > now_ms for tick_ms in passed):
            yield f"{self._id} decided ticks of {passed} at {now_ms}, before they were due"
        if spec.overlap == "allow_all" and advanced.skipped:
            yield f"{self._id} skipped ticks, and lets all start: {advanced}"

    def _due_ms(self, tick_ms: int) -> int:
        return tick_ms + jitter_of(self._id, tick_ms, self._spec.jitter_ms)

    def end(self) -> Iterator[str]:
        """Judge what is left when nothing happens any more."""
        if not self._exists:
            return
        if self._open:
            yield f"{self._id} has not noted the end of {sorted(self._open)}"
        if not self._paused and (self._left or self._waiting):
            yield f"{self._id} has {self._left} ticks left, and {len(self._waiting)} runs wait"
