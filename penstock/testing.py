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
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from penstock.embedding import Engine, Hosted, listed
from penstock.engine.core import guards
from penstock.engine.runtime.driver import DriverSettings, wall_clock_ms
from penstock.engine.runtime.reads import Attempt, outlook
from penstock.schemas.durations import Duration, duration_ms
from penstock.schemas.errors import NotAnswered, UserError

ATTEMPTS_AWAITED_S = 1.0
REST_AWAITED_S = 30.0
LOOK_EVERY_S = 0.002

_log = structlog.get_logger(__name__)


class Rest(NamedTuple):
    """Nothing is to be decided: what comes next without a record (epoch ms, if anything), and what is with workers."""

    due_ms: int | None
    attempts: frozenset[Attempt]


class SkippingClock:
    """The real clock, some way ahead."""

    def __init__(self, clock_ms: Callable[[], int] = wall_clock_ms) -> None:
        self._clock_ms = clock_ms
        self._ahead_ms = 0

    def __call__(self) -> int:
        return self._clock_ms() + self._ahead_ms

    def move_to(self, epoch_ms: int) -> None:
        """Let it be `epoch_ms` now; a moment that has passed changes nothing."""
        self._ahead_ms += max(0, epoch_ms - self())


class TestEngine(Engine):
    """An Engine on a log in memory, for tests. `hosted` as for Engine: modules, workflows, activities, or one list."""

    __test__ = False  # the name invites pytest to collect it
    _driver = DriverSettings(idle_s=0.02)  # how soon it sees that time was moved

    def __init__(self, *hosted: Hosted | Sequence[Hosted], concurrency: int = 100) -> None:
        self._clock = SkippingClock()
        all_hosted = [one for given in hosted for one in listed(given)]
        super().__init__(all_hosted, "embedded::memory:", concurrency=concurrency, clock_ms=self._clock)
        self._unawaited: frozenset[Attempt] = frozenset()

    async def __aenter__(self) -> TestEngine:
        guards.install(strict=True)
        await super().__aenter__()
        return self

    async def skip(self, duration: Duration) -> None:
        """Let durable time pass for all runs: each timer, timeout and retry comes due at its own time, and what it
        causes has happened before the next one does. Time stands at the end of `duration` when this returns, and no
        workflow has anything to do then.

        Attempts of activities are awaited too, but for a second of real time at most. Raises BadDuration; NotAnswered
        when workflows do not come to rest within 30 s of real time; what ended the processor or the worker early.
        """
        end_ms = self._clock() + duration_ms(duration)
        while True:
            due_ms = await self._rest()
            if due_ms is None or due_ms > end_ms:
                break
            self._clock.move_to(due_ms)
        self._clock.move_to(end_ms)

    async def _rest(self) -> int | None:
        """Wait until nothing happens any more without time passing; when time brings the next thing, if ever."""
        began_s = time.monotonic()
        while True:
            seen = await asyncio.to_thread(self._look)
            if seen is not None:
                waiting = seen.attempts - self._unawaited
                if not waiting:
                    return seen.due_ms
                if time.monotonic() > began_s + ATTEMPTS_AWAITED_S:
                    self._unawaited = seen.attempts
                    told = sorted(f"{one.workflow_id} #{one.sequence}" for one in waiting)
                    _log.info("time passes while activities run on", activities=told[:10])
                    return seen.due_ms
            if time.monotonic() > began_s + REST_AWAITED_S:
                raise NotAnswered(f"the workflows under test did not come to rest within {REST_AWAITED_S:g} s.")
            await asyncio.sleep(LOOK_EVERY_S)

    def _look(self) -> Rest | None:
        """Whether all shards are at rest; None while they have something to do.

        Each shard's inputs are counted before its rows are read, and compared with the log after that: whatever
        happens in between shows as something to do."""
        if self._processor is None or self._reach is None or self._log is None:
            raise UserError("this engine does not run: use it inside `async with TestEngine(…) as engine:`.")
        for part in self._parts:
            if part.error is not None:
                raise part.error
        now_ms, stores, topics = self._clock(), self._processor.stores(), self._reach.topics
        shards = {number: outlook(store) for number, store in stores.items()}
        if len(shards) < self._reach.shards:
            return None
        inputs = [(topic, number) for number in shards for topic in (topics.commands, topics.results)]
        for (topic, number), (first, end) in self._log.ends(inputs).items():
            if shards[number].offsets.get(topic, first) < end:
                return None
        due = [shard.due_ms for shard in shards.values() if shard.due_ms is not None]
        if due and min(due) <= now_ms:
            return None
        attempts = frozenset[Attempt]().union(*(shard.attempts for shard in shards.values()))
        return Rest(min(due, default=None), attempts)
