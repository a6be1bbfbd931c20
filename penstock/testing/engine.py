"""How are workflows tested? On a whole stack in memory, whose time you may skip.

    async with TestEngine(orders) as engine:
        run = await engine.client.start(orders.fulfil(order), id="order-1")
        await engine.skip("48h")
        assert await run.result(timeout="5s") == …

Nothing is written to disk, no port but a loopback one is opened, and workflow code that asks the real clock or chance
is refused more strictly than in production (`datetime.now()` too).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

import structlog

from penstock.engine.core.keys import NEVER_MS, DueKey
from penstock.engine.execution import guards
from penstock.engine.runtime.driver import DriverSettings, wall_clock_ms
from penstock.engine.runtime.reads import Attempt, pending_work
from penstock.engine.runtime.shard import ShardLimits
from penstock.hosting.engine import Engine, Hosted, listed
from penstock.schemas.errors import NotAnswered, UserError
from penstock.schemas.values.durations import Duration, duration_ms

ATTEMPTS_AWAITED_S = 1.0
STANDSTILL_S = 30.0
TOLD_EVERY_S = 10.0
LOOK_EVERY_S = 0.002

_log = structlog.get_logger(__name__)


class Look(NamedTuple):
    """What all shards together may do next. `at_rest`: nothing can be decided before time passes; `inputs`: how many
    were decided so far; `due`: the earliest timer or retry; `attempts`: those that are with the workers."""

    at_rest: bool
    inputs: int
    due: DueKey | None = None
    attempts: frozenset[Attempt] = frozenset()


class SkippingClock:
    """The real clock, some way ahead; it stands while time is skipped, so that what is decided then is not late."""

    def __init__(self, clock_ms: Callable[[], int] = wall_clock_ms) -> None:
        self._clock_ms = clock_ms
        self._ahead_ms = self._standing_ms = self._holds = 0

    def __call__(self) -> int:
        return self._standing_ms if self._holds else self._clock_ms() + self._ahead_ms

    @contextlib.contextmanager
    def standing(self) -> Iterator[None]:
        """Let it stand within the block. Blocks may overlap."""
        self._standing_ms = self()
        self._holds += 1
        try:
            yield
        finally:
            self._ahead_ms = self._standing_ms - self._clock_ms()
            self._holds -= 1

    def move_to(self, epoch_ms: int) -> None:
        """Let it be `epoch_ms` now, while it stands; a moment that has passed changes nothing."""
        self._standing_ms = max(self._standing_ms, epoch_ms)


class Patience:
    """Which attempts are still awaited? Each for a second of real time, and for a second after any other one ended:
    those that wait for their turn are not the slow ones. One that was given up is not awaited again."""

    def __init__(self) -> None:
        self._seen_s: dict[Attempt, float] = {}
        self._given_up: frozenset[Attempt] = frozenset()
        self._ended_s = 0.0

    def is_over(self, attempts: frozenset[Attempt]) -> bool:
        """Whether none of these, which are with the workers now, is awaited."""
        now_s = time.monotonic()
        if self._seen_s.keys() - attempts:
            self._ended_s = now_s
        self._seen_s = {one: self._seen_s.get(one, now_s) for one in attempts}
        awaited = attempts - self._given_up
        if not awaited:
            return True
        since_s = max(self._ended_s, *(self._seen_s[one] for one in awaited))
        if now_s < since_s + ATTEMPTS_AWAITED_S:
            return False
        self._given_up |= awaited
        told = sorted(f"{one.workflow_id} #{one.sequence}" for one in awaited)
        _log.info("time passes while activities run on", activities=told[:10])
        return True


class TestEngine(Engine):
    """An Engine on a log in memory, for tests. `hosted` as for Engine: modules, workflows, activities, or one list."""

    __test__ = False  # the name invites pytest to collect it
    # It sees soon that time was moved, and keeps what closed a month ago: for its test that is no time at all.
    _driver = DriverSettings(idle_s=0.005, limits=ShardLimits(closed_kept_ms=NEVER_MS))
    _strict_inputs = True

    def __init__(self, *hosted: Hosted | Iterable[Hosted], concurrency: int = 100) -> None:
        self._clock = SkippingClock()
        all_hosted = [one for given in hosted for one in listed(given)]
        super().__init__(all_hosted, "embedded::memory:", concurrency=concurrency, clock_ms=self._clock)

    async def __aenter__(self) -> TestEngine:
        guards.install(strict=True)
        await super().__aenter__()
        return self

    async def skip(self, duration: Duration) -> None:
        """Let durable time pass for all runs: each timer, timeout and retry comes due at its own time, and what it
        causes has happened before the next one does. Time stands at the end of `duration` when this returns, and no
        workflow has anything to do then.

        Activities take their real time: each attempt is awaited for a second, longer while others end before it.
        Raises BadDuration; NotAnswered when workflows stand still for 30 s of real time although they have something to
        do; what ended the processor or the worker early.
        """
        with self._clock.standing():
            end_ms = self._clock() + duration_ms(duration)
            patience, told_s = Patience(), time.monotonic() + TOLD_EVERY_S
            while (due := await self._next_due(patience)) is not None and due.due_ms <= end_ms:
                if time.monotonic() > told_s:
                    told_s = time.monotonic() + TOLD_EVERY_S
                    self._tell(due, end_ms)
                self._clock.move_to(due.due_ms)
            self._clock.move_to(end_ms)

    def _tell(self, due: DueKey, end_ms: int) -> None:
        _log.warning(
            "skipping time takes long, since much comes due on the way",
            next=f"{'a timer' if due.kind == 't' else 'the next attempt of activity'} #{due.sequence}",
            workflow_id=due.workflow_id,
            left=f"{(end_ms - due.due_ms) / 3_600_000:.1f} h",
        )

    async def _next_due(self, patience: Patience) -> DueKey | None:
        """Wait until nothing happens any more without time passing; what time brings next, if anything."""
        inputs, moved_s = -1, time.monotonic()
        while True:
            seen = await asyncio.to_thread(self._look)
            if seen.at_rest and patience.is_over(seen.attempts):
                return seen.due
            if seen.inputs != inputs or seen.attempts:
                inputs, moved_s = seen.inputs, time.monotonic()
            elif time.monotonic() > moved_s + STANDSTILL_S:
                raise NotAnswered(f"the workflows under test stood still for {STANDSTILL_S:g} s, with work left to do.")
            await asyncio.sleep(LOOK_EVERY_S)

    def _look(self) -> Look:
        """Each shard's inputs are counted before its rows are read, and compared with the log after that: whatever
        happens in between shows as something to do."""
        processor, reach, log = self._processor, self._reach, self._log
        if processor is None or reach is None or log is None:
            raise UserError("this engine does not run: use it inside `async with TestEngine(…) as engine:`.")
        for part in self._parts:
            if part.error is not None:
                raise part.error
        now_ms = self._clock()
        shards = {number: pending_work(store) for number, store in processor.stores().items()}
        inputs = sum(sum(shard.offsets.values()) for shard in shards.values())
        due = min(
            (shard.due for shard in shards.values() if shard.due is not None), key=attrgetter("due_ms"), default=None
        )
        ends = log.ends(
            [(topic, number) for number in shards for topic in (reach.topics.commands, reach.topics.results)]
        )
        unread = any(shards[number].offsets.get(topic, first) < end for (topic, number), (first, end) in ends.items())
        if len(shards) < reach.shards or unread or (due is not None and due.due_ms <= now_ms):
            return Look(at_rest=False, inputs=inputs)
        attempts = frozenset[Attempt]().union(*(shard.attempts for shard in shards.values()))
        return Look(at_rest=True, inputs=inputs, due=due, attempts=attempts)
