"""The commit port: how one turn of a processor becomes durable and visible.

Duties of an adapter:

1. A turn's changelog, outputs and input offsets become visible together or not at all, to every committed reader.
2. A turn is fenced: it commits only while the member still owns the partitions of its offsets, and while no later owner
   recovered the same id. A fenced turn leaves nothing.
3. `submit` returns at once; the caller has at most one turn in flight. The outcome never raises for an expected
   failure: it says committed (`ends`: where each changelog partition ends), refused (`error`; nothing is visible), or
   unknown (`error` is OutcomeUnknown; all of it or nothing is visible, sooner or later).
4. After an unknown outcome, and before the first turn, `recover` settles everything that is open under this id. Once it
   returns, the changelog's end shows whether the turn committed, and no earlier turn can become visible any more.
5. Turns become visible in the order in which they were submitted.
6. `recover` and `close` are bounded in time; `submit` is bounded by the caller's watchdog.

The caller may believe: after `committed`, the turn's rows are in the changelog below `ends`, and its inputs will not be
read again by a successor. It then writes the rows and `ends` to the store. Before that it shows nothing of the turn to
anyone. topics/commit.py is the adapter for transactions, on Kafka and on the embedded log.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from penstock.topics.commit import Outcome, Turn
from penstock.topics.log import Member


class Commits(Protocol):
    """Commits turns, one after the other."""

    def submit(self, turn: Turn, member: Member) -> Future[Outcome]:
        """Start to commit a turn; the one before has ended."""
        ...

    def recover(self, timeout_s: float) -> None:
        """Settle everything that is open under this id. Raises LogUnavailable."""
        ...

    def close(self) -> None:
        """Release threads and connections."""
        ...
