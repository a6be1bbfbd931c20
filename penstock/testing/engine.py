"""TestEngine: a whole stack in memory whose time can be skipped.

    async with TestEngine(orders) as engine:
        run = await engine.client.start(orders.fulfil(order), id="order-1")
        await engine.skip("48h")
        assert await run.result(timeout="5s") == …

Nothing is written to disk and only a loopback port is opened. Workflow code that uses the real clock or random numbers
is refused more strictly than in production (`datetime.now()` too).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

import structlog

from penstock.config import load
from penstock.engine.core.keys import DueKey
from penstock.engine.execution import guards
from penstock.engine.runtime.driver import DriverSettings
from penstock.engine.runtime.reads import Attempt, pending_work
from penstock.hosting.engine import Engine, Hosted, as_list
from penstock.schemas.errors import NotAnswered, UserError, WorkflowBlockedError
from penstock.schemas.values.durations import Duration, duration_ms
from penstock.testing.blocked import BlockedRuns
from penstock.testing.clock import SkippingClock
from penstock.testing.patience import Patience

STANDSTILL_S = 30.0
PROGRESS_EVERY_S = 10.0
POLL_S = 0.002
BLOCKED_POLL_S = 0.05

logger = structlog.get_logger(__name__)


class PendingWork(NamedTuple):
    """Pending work of all shards.

    `at_rest`: nothing can be decided before time passes; `inputs`: how many were decided so far; `due`: the earliest
    timer or retry; `attempts`: those that the workers have.
    """

    at_rest: bool
    inputs: int
    due: DueKey | None = None
    attempts: frozenset[Attempt] = frozenset()


class TestEngine(Engine):
    """An Engine on a log in memory, for tests. `hosted` as for Engine: modules, workflows, activities, or one list."""

    __test__ = False  # pytest would collect a class of this name
    _driver = DriverSettings(idle_s=0.005)  # skipped time is noticed soon
    _strict_inputs = True  # an input that replay makes differently blocks its run

    def __init__(self, *hosted: Hosted | Iterable[Hosted], concurrency: int = 100) -> None:
        self._clock = SkippingClock()
        all_hosted = [item for given in hosted for item in as_list(given)]
        # A run that closed years of skipped time ago can still be read.
        settings = load({"log": "embedded::memory:", "closed_kept": "365000d"}, os.environ)
        super().__init__(all_hosted, concurrency=concurrency, settings=settings, clock_ms=self._clock)

    async def _open(self) -> None:
        guards.install(strict=True)
        await super()._open()
        self.client.raise_on(self._hindrance)

    async def _hindrance(self, workflow_id: str, run_id: str) -> WorkflowBlockedError:
        """Wait until the run, or a child that it awaits, is BLOCKED: nothing frees it while a test awaits its end."""
        while True:
            error = await asyncio.to_thread(self._blocked, workflow_id, run_id)
            if error is not None:
                return error
            await asyncio.sleep(BLOCKED_POLL_S)

    def _blocked(self, workflow_id: str, run_id: str) -> WorkflowBlockedError | None:
        if self._processor is None or self._namespace is None or self._log is None:
            return None  # the engine is closing
        return BlockedRuns(self._log, self._namespace, self._processor.stores()).error(workflow_id, run_id)

    async def skip(self, duration: Duration) -> None:
        """Let durable time pass for all runs.

        Each timer, timeout and retry comes due at its own time, and its consequences are complete before the next one
        comes due. On return the clock is `duration` ahead and no workflow has anything left to do before more time
        passes. Activities take real time: each attempt is awaited for a second, longer while others end before it.

        Raises BadDuration; NotAnswered when workflows make no progress for 30 s of real time although they have work
        left; the error that ended the processor or the worker early.
        """
        with self._clock.standing():
            end_ms = self._clock() + duration_ms(duration)
            patience, log_at_s = Patience(), time.monotonic() + PROGRESS_EVERY_S
            while (due := await self._next_due(patience)) is not None and due.due_ms <= end_ms:
                if time.monotonic() > log_at_s:
                    log_at_s = time.monotonic() + PROGRESS_EVERY_S
                    _log_progress(due, end_ms)
                self._clock.move_to(due.due_ms)
            self._clock.move_to(end_ms)

    async def _next_due(self, patience: Patience) -> DueKey | None:
        """Wait until nothing can be decided before time passes; returns what comes due next."""
        inputs, progress_s = -1, time.monotonic()
        while True:
            pending = await asyncio.to_thread(self._pending_work)
            if pending.at_rest and patience.is_over(pending.attempts):
                return pending.due
            if pending.inputs != inputs or pending.attempts:
                inputs, progress_s = pending.inputs, time.monotonic()
            elif time.monotonic() > progress_s + STANDSTILL_S:
                raise NotAnswered(f"the workflows made no progress for {STANDSTILL_S:g} s although work is left to do.")
            await asyncio.sleep(POLL_S)

    def _pending_work(self) -> PendingWork:
        """Read the pending work of all shards.

        The inputs of each shard are counted before its rows are read and compared with the log afterwards, so that
        whatever is decided in between shows as work to do.
        """
        processor, namespace, log = self._processor, self._namespace, self._log
        if processor is None or namespace is None or log is None:
            raise UserError("this engine is not running: use it inside `async with TestEngine(…) as engine:`.")
        for part in self._parts:
            if part.error is not None:
                raise part.error
        now_ms = self._clock()
        shards = {number: pending_work(store) for number, store in processor.stores().items()}
        inputs = sum(sum(shard.offsets.values()) for shard in shards.values())
        due = min(
            (shard.due for shard in shards.values() if shard.due is not None), key=attrgetter("due_ms"), default=None
        )
        input_topics = (namespace.topics.commands, namespace.topics.results)
        ends = log.ends([(topic, number) for number in shards for topic in input_topics])
        unread = any(shards[number].offsets.get(topic, first) < end for (topic, number), (first, end) in ends.items())
        if len(shards) < namespace.shards or unread or (due is not None and due.due_ms <= now_ms):
            return PendingWork(at_rest=False, inputs=inputs)
        attempts = frozenset[Attempt]().union(*(shard.attempts for shard in shards.values()))
        return PendingWork(at_rest=True, inputs=inputs, due=due, attempts=attempts)


def _log_progress(due: DueKey, end_ms: int) -> None:
    logger.warning(
        "skipping time takes long, since many timers and retries come due",
        next=f"{'a timer' if due.kind == 't' else 'the next attempt of activity'} #{due.sequence}",
        workflow_id=due.workflow_id,
        left=f"{(end_ms - due.due_ms) / 3_600_000:.1f} h",
    )
