"""Tests of the inputs that were read and are not yet decided."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.runtime.backlog import Backlog
from penstock.topics.log import StoredRecord


def _record(shard: int, offset: int) -> StoredRecord:
    return StoredRecord("commands", shard, offset, None, None)


@given(st.lists(st.integers(0, 3), max_size=30), st.lists(st.tuples(st.integers(1, 7), st.integers(0, 3)), max_size=40))
def test_each_shard_keeps_its_order(shards: list[int], turns: list[tuple[int, int]]) -> None:
    """Whatever is taken and put back, the inputs of a shard are taken once each, in the order they were read."""
    backlog = Backlog()
    records = [_record(shard, offset) for offset, shard in enumerate(shards)]
    backlog.add(records)
    taken: list[StoredRecord] = []
    for count, returned in [*turns, *[(10, 0)] * 10]:
        for number, batch in backlog.take(count):
            kept = len(batch) - min(returned, len(batch))
            if kept < len(batch):
                backlog.put_back(number, batch[kept:])
            taken += batch[:kept]
    assert len(backlog) == 0
    for shard in range(4):
        assert [r for r in taken if r.partition == shard] == [r for r in records if r.partition == shard]


def test_no_shard_waits_for_ever() -> None:
    """A shard with many inputs leaves room for the others in the next turn."""
    backlog = Backlog()
    backlog.add([_record(0, offset) for offset in range(10)] + [_record(1, 0)])
    assert [number for number, _ in backlog.take(2)] == [0]
    assert [(number, len(batch)) for number, batch in backlog.take(2)] == [(1, 1), (0, 1)]


def test_a_released_shard_leaves_nothing() -> None:
    """The inputs of a dropped shard are not taken."""
    backlog = Backlog()
    backlog.add([_record(0, 0), _record(1, 0)])
    backlog.drop(0)
    assert [number for number, _ in backlog.take(9)] == [1]
