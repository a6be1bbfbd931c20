"""What the log refuses for now, and when it is tried again: output topics, shards whose own topics are refused, and
shards that cannot be opened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from penstock.engine.core.keys import NEVER_MS

K = TypeVar("K", str, int)

DELAY_MS_FIRST = 1_000
DELAY_MS_MAX = 60_000


class _Pause(msgspec.Struct):
    until_ms: int
    delay_ms: int


class Pauses(Generic[K]):
    """Pauses by topic or by shard, each twice as long as the one before until the log has accepted it."""

    def __init__(self) -> None:
        self._pauses: dict[K, _Pause] = {}
        self._current: set[K] = set()

    def __contains__(self, key: object) -> bool:
        return key in self._current

    def __iter__(self) -> Iterator[K]:
        return iter(self._current)

    def __len__(self) -> int:
        return len(self._current)

    def __bool__(self) -> bool:
        return bool(self._current)

    def begin(self, key: K, now_ms: int, first_ms: int = DELAY_MS_FIRST) -> int:
        """Pause it from now on, the first time for `first_ms`; returns for how many milliseconds."""
        before = self._pauses.get(key)
        delay_ms = first_ms if before is None else min(before.delay_ms * 2, DELAY_MS_MAX)
        self._pauses[key] = _Pause(now_ms + delay_ms, delay_ms)
        self._current.add(key)
        return delay_ms

    def end_due(self, now_ms: int) -> list[K]:
        """End the pauses that are over. Their lengths are remembered until `accepted`.

        A clock that was set back ends all of them."""
        ended = []
        for key in list(self._current):
            pause = self._pauses[key]
            if not 0 <= pause.until_ms - now_ms <= pause.delay_ms or pause.until_ms == now_ms:
                self._current.discard(key)
                ended.append(key)
        return ended

    def next_ms(self) -> int | None:
        """When the next pause ends (epoch); None without any."""
        return min((self._pauses[key].until_ms for key in self._current), default=None)

    def known(self) -> list[K]:
        """What is paused, or was and is not yet accepted."""
        return list(self._pauses)

    def accepted(self, key: K) -> bool:
        """The log accepts it again; returns whether it had been paused."""
        self._current.discard(key)
        return self._pauses.pop(key, None) is not None


class Refusals:
    """The pauses of one processor."""

    def __init__(self) -> None:
        self.topics: Pauses[str] = Pauses()
        self.shards: Pauses[int] = Pauses()
        self.openings: Pauses[int] = Pauses()

    def next_ms(self) -> int:
        """When the next of all pauses ends (epoch); NEVER_MS without any."""
        ends = (self.topics.next_ms(), self.shards.next_ms(), self.openings.next_ms())
        return min((end for end in ends if end is not None), default=NEVER_MS)
