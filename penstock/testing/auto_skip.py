"""Time that moves by itself: to the next due time, whenever nothing else can happen.

    the test waits for the engine · no command or reply is on its way · no input is undecided · no activity runs

Only a test that waits can be taken to have nothing else to do, so time moves while a call of the engine's client waits
for a reply, such as `Run.result`. Meanwhile the clock stands, so that timers have exact times; while an activity takes
long it goes on, so that time-outs work.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from penstock.client.exchange import Exchange
from penstock.engine.core.keys import DAY_MS
from penstock.engine.runtime.reads import Attempt
from penstock.testing.clock import SkippingClock
from penstock.testing.pending import PendingWork

ROUNDS = 50
"""Rounds of the event loop in which a test that has received a reply makes its next call."""

IDLE_S = 0.005
ATTEMPTS_POLL_S = 0.002
"""Interval of looks while activities run, which need the processor's time themselves."""

QUICK_S = 0.1
"""How long an activity may run while the clock stands."""

OUTSIDE_S = 1.0
"""How long attempts may be with no worker before time moves: only a caller outside could complete them."""

AHEAD_MS_MAX = 36_500 * DAY_MS

logger = structlog.get_logger(__name__)


class AutoSkip:
    """Moves the clock of an engine. For its event loop.

    `look`: reads the pending work of all shards, on another thread; waits a little for work that is being decided.
    `is_working`: whether activities run. `wake`: lets the processor look at the clock again."""

    def __init__(
        self,
        clock: SkippingClock,
        exchange: Exchange,
        look: Callable[[], PendingWork],
        is_working: Callable[[], bool],
        wake: Callable[[], None],
    ) -> None:
        self._clock, self._exchange, self._look = clock, exchange, look
        self._is_working, self._wake = is_working, wake
        self._standing = contextlib.ExitStack()
        self._stands = False
        self._working_s = self._idle_s = 0.0
        self._attempts: frozenset[Attempt] = frozenset()
        self._began_ms = clock()
        self._called = asyncio.Event()
        exchange.on_call = self._note_call
        self.suspended = 0
        self.is_exhausted = False

    async def run(self) -> None:
        """Move time until cancelled."""
        exchange = self._exchange
        try:
            while True:
                await self._called.wait()
                self._called.clear()
                while exchange.has_open_calls and not self.is_exhausted:
                    await self._go_on()
                self._stand(on=False)
        finally:
            exchange.on_call = lambda: None
            self._stand(on=False)

    def _note_call(self) -> None:
        """Stop the clock before the command has reached the processor, so that all that follows has one time."""
        self._called.set()
        if not (self.is_exhausted or self.suspended):
            self._stand(on=not self._is_slow())

    async def _go_on(self) -> None:
        """Move time once if nothing else can happen; otherwise wait a little."""
        exchange, seen = self._exchange, self._exchange.exchanged
        if self.suspended:
            self._stand(on=False)
            await asyncio.sleep(IDLE_S)
            return
        pending = await asyncio.to_thread(self._look)
        self._stand(on=not self._is_slow())
        if not pending.at_rest or not self._is_delivered():
            await asyncio.sleep(0)
            return
        if self._attempts_go_on(pending):
            await asyncio.sleep(ATTEMPTS_POLL_S)
            return
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
        if exchange.exchanged != seen or not exchange.is_waiting or self.suspended:
            return
        if pending.due is None:
            await asyncio.sleep(IDLE_S)  # only the test can go on, or another thread of it
            return
        self._move_to(pending.due.due_ms)

    def _move_to(self, due_ms: int) -> None:
        if due_ms > self._began_ms + AHEAD_MS_MAX:
            self.is_exhausted = True
            logger.warning("time has moved by 100 years, and moves no more by itself")
            return
        self._clock.move_to(due_ms)
        self._wake()

    def _is_delivered(self) -> bool:
        """Whether the event loop has received every reply that is in the log."""
        where, offset = self._exchange.delivered()
        return offset >= self._exchange.log.ends([where])[where][1]

    def _is_slow(self) -> bool:
        """Whether activities have been running for so long that the clock has to go on."""
        if not self._is_working():
            self._working_s = 0.0
        elif not self._working_s:
            self._working_s = time.monotonic()
        return bool(self._working_s) and time.monotonic() > self._working_s + QUICK_S

    def _attempts_go_on(self, pending: PendingWork) -> bool:
        """Whether activities run, or may be about to."""
        now_s, works = time.monotonic(), self._is_working()
        if works or not pending.attempts or pending.attempts != self._attempts:  # a worker has to take new ones first
            self._attempts, self._idle_s = pending.attempts, now_s
            return works or bool(pending.attempts)
        return now_s < self._idle_s + OUTSIDE_S

    def _stand(self, *, on: bool) -> None:
        if on and not self._stands:
            self._standing.enter_context(self._clock.standing())
        elif self._stands and not on:
            self._standing.close()
        self._stands = on
