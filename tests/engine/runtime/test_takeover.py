"""Tests of takeover: a store is brought to the end of a transaction, never into one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import pytest

from penstock.engine.core.keys import SHARD_KEY
from penstock.engine.core.rows import ShardRow, pack
from penstock.engine.runtime.takeover import READS_MAX, Ownership, bring_up
from penstock.engine.store.changelog import offset_row
from penstock.engine.store.memory import MemoryStore
from penstock.schemas.errors import LogUnavailable, NotAdmitted
from penstock.schemas.values.levels import LEVEL
from penstock.topics.admin import apply, plan
from penstock.topics.catalogue import Topics, specs
from penstock.topics.embedded import EmbeddedLog
from penstock.topics.log import Log, StoredRecord
from penstock.topics.publishing import publish
from penstock.topics.registry import level_record, read_registry

TOPICS = Topics()
SHARD = 0
HEADER, HISTORY = b"Rorder-1", b"Horder-1"


class BusyLog:
    """A changelog that another processor writes: each reading ends at the next of `ends`, the last ones at its end."""

    def __init__(self, keys: Sequence[bytes], ends: Sequence[int]) -> None:
        row = pack(ShardRow())
        self.records = [
            StoredRecord(TOPICS.state_changelog, SHARD, offset, key, row) for offset, key in enumerate(keys)
        ]
        self._ends = iter(ends)

    def ends(self, partitions: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], tuple[int, int]]:
        return dict.fromkeys(partitions, (0, len(self.records)))

    def read_to_end(self, topic: str, partition: int, start: int, timeout_s: float) -> Iterator[list[StoredRecord]]:
        assert (topic, partition) == (TOPICS.state_changelog, SHARD) and timeout_s > 0
        found = self.records[start : next(self._ends, len(self.records))]
        if found:
            yield found


def brought_up(log: BusyLog) -> MemoryStore:
    store = MemoryStore()
    bring_up(cast("Log", cast("Any", log)), TOPICS, SHARD, store, now_ms=0)
    return store


def test_a_reading_that_ends_within_a_transaction_is_continued() -> None:
    """A restore whose end lies within a transaction reads on to the end of that transaction."""
    store = brought_up(BusyLog([HEADER, HISTORY, SHARD_KEY], ends=[1, 2]))
    assert store.get(HISTORY) is not None and store.get(SHARD_KEY) is not None


def test_a_shard_of_a_higher_level_is_not_taken() -> None:
    """A processor that does not know the namespace's feature level takes no shard over: it could not read its rows."""
    log = EmbeddedLog()
    apply(log, plan(log, specs(TOPICS, 1)))
    publish(log, [level_record(TOPICS, LEVEL + 1, "operator")], 5.0)
    with pytest.raises(NotAdmitted, match="run a newer build"):
        Ownership(log, TOPICS, "old", "").take(SHARD, now_ms=0)
    assert read_registry(log, TOPICS, 5.0).owners == {}
    log.close()


def test_a_reading_that_ends_with_a_transaction_is_the_last() -> None:
    """A restore stops at the end of a transaction, even if the changelog has grown since."""
    store = brought_up(BusyLog([HEADER, HISTORY, SHARD_KEY, b"Rorder-2"], ends=[3]))
    assert store.get(b"Rorder-2") is None


def test_an_interrupted_restore_begins_again() -> None:
    """A store whose first restore was interrupted is wiped: the changelog may have dropped deletions since."""
    store = MemoryStore()
    store.write({HEADER: b"deleted since", **offset_row(1)})
    bring_up(cast("Log", cast("Any", BusyLog([b"Rorder-2", SHARD_KEY], ends=[]))), TOPICS, SHARD, store, now_ms=0)
    assert store.get(HEADER) is None and store.get(b"Rorder-2") is not None


def test_readings_that_always_end_within_a_transaction_are_bounded() -> None:
    """A restore that another processor keeps from ending gives up with an error that says so."""
    with pytest.raises(LogUnavailable, match="another processor writes it"):
        brought_up(BusyLog([HEADER] * (READS_MAX + 1), ends=range(1, READS_MAX + 1)))
