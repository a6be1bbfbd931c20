"""How are workflows tested? On a whole stack in memory, whose time you may skip.

    async with TestEngine(orders) as engine:
        run = await engine.client.start(orders.fulfil(order), id="order-1")
        engine.skip("48h")
        assert await run.result(timeout="5s") == …

Nothing is written to disk, no port but a loopback one is opened, and workflow code that asks the real clock or chance
is refused more strictly than in production (`datetime.now()` too).
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.embedding import Engine, Hosted
from penstock.engine.core import guards
from penstock.engine.runtime.driver import wall_clock_ms
from penstock.schemas.durations import Duration, duration_ms


class SkippingClock:
    """The real clock, some way ahead."""

    def __init__(self, clock_ms: Callable[[], int] = wall_clock_ms) -> None:
        self._clock_ms = clock_ms
        self.ahead_ms = 0

    def __call__(self) -> int:
        return self._clock_ms() + self.ahead_ms


class TestEngine(Engine):
    """An Engine on a log in memory, for tests. `hosted` as for Engine: modules, workflows, activities."""

    __test__ = False  # the name invites pytest to collect it

    def __init__(self, *hosted: Hosted, concurrency: int = 100) -> None:
        self._clock = SkippingClock()
        super().__init__(hosted, "embedded::memory:", concurrency=concurrency, clock_ms=self._clock)

    async def __aenter__(self) -> TestEngine:
        guards.install(strict=True)
        await super().__aenter__()
        return self

    def skip(self, duration: Duration) -> None:
        """Let durable time pass at once: timers, timeouts and retries that come due by then happen within a moment.

        Time that other runs began to wait for passes for them too. Raises BadDuration."""
        self._clock.ahead_ms += duration_ms(duration)
