"""Clock that tests can move ahead."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from penstock.engine.runtime.driver import wall_clock_ms


class SkippingClock:
    """The real clock plus the time skipped so far; it stands still while time is being skipped."""

    def __init__(self, clock_ms: Callable[[], int] = wall_clock_ms) -> None:
        self._clock_ms = clock_ms
        self._ahead_ms = self._standing_ms = self._holds = 0

    def __call__(self) -> int:
        return self._standing_ms if self._holds else self._clock_ms() + self._ahead_ms

    @contextlib.contextmanager
    def standing(self) -> Iterator[None]:
        """Stop the clock within the block; blocks may overlap."""
        self._standing_ms = self()
        self._holds += 1
        try:
            yield
        finally:
            self._ahead_ms = self._standing_ms - self._clock_ms()
            self._holds -= 1

    def move_to(self, epoch_ms: int) -> None:
        """Set the stopped clock to `epoch_ms`; a moment in the past changes nothing."""
        self._standing_ms = max(self._standing_ms, epoch_ms)
