"""Inputs that may have ended a processor: after an unclean end they are decided one by one, each announced.

A process that dies leaves no word of why. If workflow code ended it (a crash in C code, a watchdog), the same input
would end the next owner, and the one after it. So the owner after an unclean end decides what its predecessor may have
begun alone, one input a transaction, and commits beforehand which one is next. An input that is announced by two owners
in turn, both of which died, blocks its run.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.topics.log import StoredRecord, TopicPartition

DEATHS_MAX = 2
"""Owners that died with an input announced, before it blocks its run."""

QUIET_MS = 1_000


class Suspicion(msgspec.Struct):
    """What a dead owner may have begun: inputs below `until` (next offset by topic), and timers due up to `due_ms`.

    `quiet_ms`: since when nothing of it has arrived. The end of a partition may hold no record, only marks of
    transactions, so silence ends a suspicion as well."""

    until: Mapping[str, int]
    due_ms: int
    quiet_ms: int

    def covers(self, record: StoredRecord) -> bool:
        """Whether the dead owner may have begun this input."""
        return record.offset < self.until.get(record.topic, 0)

    def is_over(self, positions: Mapping[str, int], now_ms: int) -> bool:
        """Whether all inputs that it covers are decided. A clock that was set back ends it."""
        if all(positions.get(topic, 0) >= until for topic, until in self.until.items()):
            return True
        return not 0 <= now_ms - self.quiet_ms < QUIET_MS


def key_of(suspect: StoredRecord | bytes) -> bytes:
    """Name of an input, or of a due timer (its key in the due index), in a mark."""
    return suspect if isinstance(suspect, bytes) else f"{suspect.topic}/{suspect.offset}".encode()


def suspicion_of(
    shard: int, positions: Mapping[str, int], ends: Mapping[TopicPartition, tuple[int, int]], span: int, now_ms: int
) -> Suspicion:
    """What the dead owner of a shard may have begun: up to `span` inputs of a topic beyond the committed ones."""
    until = {
        topic: min(end, positions.get(topic, first) + span)
        for (topic, number), (first, end) in ends.items()
        if number == shard
    }
    return Suspicion(until, now_ms, now_ms)
