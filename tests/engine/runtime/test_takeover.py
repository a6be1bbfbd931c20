"""Tests of takeover: a store is brought to the end of a transaction, never into one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import pytest

from penstock.engine.core.keys import SHARD_KEY
from penstock.engine.core.rows import ShardRow, pack
from penstock.engine.runtime.takeover import (
    READS_MAX,
    Ownership,
    bring_up,
    bringing_up,
    processed,
    require_state,
)
from penstock.engine.store.changelog import offset_row, to_records
from penstock.engine.store.memory import MemoryStore
from penstock.schemas.errors import LogUnavailable, NotAdmitted, StateMismatch
from penstock.schemas.values.levels import LEVEL
from penstock.topics.admin import apply, plan
from penstock.topics.catalogue import DELETE_RETENTION_MS, Topics, specs
from penstock.topics.embedded import EmbeddedLog
from penstock.topics.log import CommittedOffset, Log, Record, StoredRecord
from penstock.topics.publishing import publish
from penstock.topics.registry import level_record, read_registry

TOPICS = Topics()
SHARD = 0
HEADER, HISTORY = b"Rorder-1", b"Horder-1"


class BusyLog:
    """A changelog that another processor writes: each reading ends at the next of `ends`, the last ones at its end."""

    def __init__(self, keys: Sequence[bytes], ends: Sequence[int]) -> None:
        self.records = [
            StoredRecord(TOPICS.state_changelog, SHARD, offset, key, pack(ShardRow(transaction=offset + 1)))
            for offset, key in enumerate(keys)
        ]
        self._ends = iter(ends)

    def ends(self, partitions: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], tuple[int, int]]:
        return dict.fromkeys(partitions, (0, len(self.records)))

    def read_to_end(self, topic: str, partition: int, start: int, timeout_s: float) -> Iterator[list[StoredRecord]]:
        assert partition == SHARD and timeout_s > 0
        if topic == TOPICS.registry:
            return
        assert topic == TOPICS.state_changelog
        found = self.records[start : next(self._ends, len(self.records))]
        if found:
            yield found


def brought_up(log: BusyLog) -> MemoryStore:
    store = MemoryStore()
    bring_up(cast("Log", cast("Any", log)), TOPICS, SHARD, store, lambda: 0)
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
    """A store whose first restore was interrupted at an unknown time is wiped: it may have missed deletions."""
    store = MemoryStore()
    store.write({HEADER: b"deleted since", **offset_row(0)})
    log = BusyLog([b"Rorder-2", SHARD_KEY], ends=[])
    bring_up(cast("Log", cast("Any", log)), TOPICS, SHARD, store, lambda: DELETE_RETENTION_MS)
    assert store.get(HEADER) is None and store.get(b"Rorder-2") is not None


def test_readings_that_always_end_within_a_transaction_are_bounded() -> None:
    """A restore that another processor keeps from ending gives up with an error that says so."""
    with pytest.raises(LogUnavailable, match="another processor writes it"):
        brought_up(BusyLog([HEADER] * (READS_MAX + 1), ends=range(1, READS_MAX + 1)))


class Shardful:
    """A log in memory with one shard, and what a processor commits."""

    def __init__(self) -> None:
        self.log = EmbeddedLog()
        apply(self.log, plan(self.log, specs(TOPICS, 1)))
        self.store = MemoryStore()

    def commit(self, transaction: int, *stores: MemoryStore, offsets: dict[str, int] | None = None) -> None:
        """Append a transaction to the changelog, and write it to these stores."""
        row = pack(ShardRow(transaction=transaction, offsets=offsets or {}))
        rows: dict[bytes, bytes | None] = {HEADER: b"%d" % transaction, SHARD_KEY: row}
        publish(self.log, to_records(rows, TOPICS.state_changelog, SHARD), 5.0)
        for store in stores:
            store.write({**rows, **offset_row(self.end(TOPICS.state_changelog))})

    def append(self, topic: str, count: int = 1) -> None:
        """Append records that are not decoded."""
        publish(self.log, [Record(topic, SHARD, b"k", b"v")] * count, 5.0)

    def end(self, topic: str) -> int:
        return self.log.ends([(topic, SHARD)])[topic, SHARD][1]

    def bring_up(self, *, later_ms: int = 0) -> bool:
        now_ms = time.time_ns() // 1_000_000 + later_ms
        return bring_up(self.log, TOPICS, SHARD, self.store, lambda: now_ms)

    def require_state(self, *, mark: str = "", **committed: int) -> None:
        offsets = {(getattr(TOPICS, name), SHARD): CommittedOffset(offset, mark) for name, offset in committed.items()}
        before = processed(self.log, TOPICS, SHARD, self.store, offsets)
        require_state(self.log, TOPICS, SHARD, self.store, before)


@pytest.fixture
def shard() -> Iterator[Shardful]:
    """A shard without any state."""
    made = Shardful()
    yield made
    made.log.close()


def test_a_shard_that_could_not_be_opened_at_first_stays_suspect(shard: Shardful) -> None:
    """An owner's unclean end is known until its successor has opened the shard, however often that has to try."""
    Ownership(shard.log, TOPICS, "dead", "").take(SHARD, now_ms=0)
    heir = Ownership(shard.log, TOPICS, "heir", "")
    assert [heir.take(SHARD, now_ms=0), heir.take(SHARD, now_ms=0)] == [False, False]
    heir.opened(SHARD)
    assert heir.take(SHARD, now_ms=0)


def test_a_shard_whose_last_owner_died_is_suspect_to_one_that_had_it_before(shard: Shardful) -> None:
    """That a process once opened a shard says nothing of the owner that came after it."""
    first = Ownership(shard.log, TOPICS, "first", "")
    first.take(SHARD, now_ms=0)
    first.opened(SHARD)
    Ownership(shard.log, TOPICS, "second", "").take(SHARD, now_ms=0)
    assert not first.take(SHARD, now_ms=0)
    assert first.predecessors == {SHARD: "second"}


def test_a_shard_that_was_released_is_not_suspect(shard: Shardful) -> None:
    """An orderly release, also of this process, and a shard that no one owned, leave nothing to suspect."""
    owner = Ownership(shard.log, TOPICS, "one", "")
    assert owner.take(SHARD, now_ms=0)
    owner.release([SHARD], now_ms=0)
    assert Ownership(shard.log, TOPICS, "two", "").take(SHARD, now_ms=0)


HALF_MS = DELETE_RETENTION_MS // 2


@pytest.mark.parametrize(("later_ms", "wiped"), [(HALF_MS - 60_000, False), (HALF_MS + 60_000, True)])
def test_a_store_that_is_behind_for_too_long_is_restored_anew(shard: Shardful, later_ms: int, wiped: bool) -> None:
    """A store that is behind is rebuilt if its last record is older than half of the time that deletions are kept."""
    shard.commit(1, shard.store)
    shard.store.write({b"dropped since": b"1"})
    shard.commit(2)
    shard.bring_up(later_ms=later_ms)
    assert (shard.store.get(b"dropped since") is None) is wiped
    assert shard.store.get(HEADER) == b"2"


def test_the_logs_time_counts_too(shard: Shardful, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose clock stands still does not trust an old store: the newest announcement has the log's time."""
    now_ns = time.time_ns()
    shard.commit(1, shard.store)
    shard.store.write({b"dropped since": b"1"})
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + (HALF_MS + 60_000) * 1_000_000)
    shard.commit(2)
    Ownership(shard.log, TOPICS, "new", "").take(SHARD, now_ms=0)
    bring_up(shard.log, TOPICS, SHARD, shard.store, lambda: now_ns // 1_000_000)
    assert shard.store.get(b"dropped since") is None


def test_an_idle_store_is_used_whatever_its_age(shard: Shardful) -> None:
    """A store that has all of its changelog is not rebuilt after months."""
    shard.commit(1, shard.store)
    shard.store.write({b"mark": b"1"})
    assert not shard.bring_up(later_ms=100 * DELETE_RETENTION_MS)
    assert shard.store.get(b"mark") == b"1"


def test_an_interrupted_restore_goes_on_if_it_began_lately(shard: Shardful) -> None:
    """What a restore had read when it was interrupted is not read again, unless that is long ago."""
    publish(shard.log, [Record(TOPICS.state_changelog, SHARD, b"k%d" % n, b"v") for n in range(3_000)], 5.0)
    shard.commit(1)
    now_ms = time.time_ns() // 1_000_000 + 5 * DELETE_RETENTION_MS  # the records are days old
    steps = bringing_up(shard.log, TOPICS, SHARD, shard.store, lambda: now_ms)
    next(steps)
    steps.close()
    shard.store.write({b"read": b"1"})
    for later_ms, kept in ((HALF_MS - 60_000, b"1"), (HALF_MS + 60_000, None)):
        later = now_ms + later_ms
        steps = bringing_up(shard.log, TOPICS, SHARD, shard.store, lambda later=later: later)
        next(steps)
        steps.close()
        assert shard.store.get(b"read") == kept
        shard.store.write({SHARD_KEY: None, **offset_row(2_000)})


def test_a_restore_that_stood_still_begins_anew(shard: Shardful) -> None:
    """What is read long after a restore began is not written: deletions in between may be gone from the log."""
    records = [Record(TOPICS.state_changelog, SHARD, b"k%d" % n, b"v") for n in range(3_000)]
    publish(shard.log, records, 5.0)
    shard.commit(1)
    clock_ms = [time.time_ns() // 1_000_000]
    steps = bringing_up(shard.log, TOPICS, SHARD, shard.store, lambda: clock_ms[0])
    next(steps)
    clock_ms[0] += HALF_MS + 60_000
    with pytest.raises(StateMismatch, match="stood still for 12 h, .* it begins anew"):
        next(steps)
    shard.store.write({b"read before": b"1"})
    for _ in bringing_up(shard.log, TOPICS, SHARD, shard.store, lambda: clock_ms[0]):
        pass
    assert shard.store.get(b"read before") is None
    assert shard.store.get(b"k2999") == b"v"


@pytest.mark.parametrize("number", [1, 2])
def test_transaction_numbers_have_to_grow(shard: Shardful, number: int) -> None:
    """Behind the store's last transaction, an equal or lower number shows that the log was overwritten."""
    shard.commit(1)
    shard.commit(2, shard.store)
    shard.commit(number)
    with pytest.raises(StateMismatch, match=rf"transaction {number} of .*state-changelog\[0\]@5 follows transaction 2"):
        shard.bring_up()
    assert shard.store.get(HEADER) == b"2"


def test_state_that_the_group_says_was_there_is_missing(shard: Shardful) -> None:
    """Without rows, a group that stands past the beginning stops the shard, and the message says what to do."""
    shard.append(TOPICS.commands, 3)
    shard.bring_up()
    with pytest.raises(StateMismatch, match=r"commands\[0\] was processed up to 3, .* covers it up to 0; restore the"):
        shard.require_state(commands=3)


def test_state_that_was_cut_off_is_missing(shard: Shardful) -> None:
    """A changelog that ends before the transaction with the group's offset stops the shard."""
    shard.append(TOPICS.results, 9)
    shard.commit(1, offsets={TOPICS.results: 4})
    shard.bring_up()
    with pytest.raises(StateMismatch, match=r"results\[0\] was processed up to 9, .* covers it up to 4"):
        shard.require_state(commands=0, results=9)


def test_transactions_without_inputs_that_were_cut_off_are_missing(shard: Shardful) -> None:
    """A changelog that ends before the group's last transaction stops the shard, even if no offset says so."""
    shard.append(TOPICS.commands, 4)
    shard.commit(1, offsets={TOPICS.commands: 4})
    shard.bring_up()
    with pytest.raises(StateMismatch, match=r"commands\[0\] is of transaction 2, but the changelog .* transaction 1;"):
        shard.require_state(commands=4, mark="2")


@pytest.mark.parametrize("mark", ["", "0", "1", "set by hand"])
def test_a_group_that_names_no_later_transaction_fits(shard: Shardful, mark: str) -> None:
    """Offsets that an operator has set, or of a transaction that the changelog has, open the shard."""
    shard.append(TOPICS.commands, 4)
    shard.commit(1, offsets={TOPICS.commands: 4})
    shard.bring_up()
    shard.require_state(commands=4, mark=mark)


def test_state_of_a_group_that_was_forgotten_is_missing(shard: Shardful) -> None:
    """Without rows and without the group's offsets, which a broker drops after a week, decisions stop the shard."""
    shard.append(TOPICS.events)
    shard.bring_up()
    with pytest.raises(StateMismatch, match=r"events\[0\] holds decisions, but the changelog .* is empty"):
        shard.require_state()


def test_state_of_inputs_that_were_trimmed_is_missing(shard: Shardful) -> None:
    """Without rows, inputs of which the first are deleted stop the shard: they were processed."""
    shard.append(TOPICS.commands, 5)
    shard.log.trim({(TOPICS.commands, SHARD): 2})
    shard.bring_up()
    with pytest.raises(StateMismatch, match=r"commands\[0\] begins at 2, but the state of shard 0 covers it up to 0"):
        shard.require_state()


def test_inputs_that_were_created_anew_are_noticed(shard: Shardful) -> None:
    """A topic of inputs that is shorter than what was processed stops the shard."""
    shard.append(TOPICS.commands, 2)
    shard.commit(1, offsets={TOPICS.commands: 40})
    shard.bring_up()
    with pytest.raises(StateMismatch, match=r"commands\[0\] ends at 2, but shard 0 has processed it up to 40"):
        shard.require_state()


def test_whole_state_is_accepted(shard: Shardful) -> None:
    """State at the group's offsets is accepted, and so is one past them: a group may have been set back on purpose."""
    shard.append(TOPICS.commands, 5)
    shard.append(TOPICS.events)
    shard.commit(1, offsets={TOPICS.commands: 4})
    shard.bring_up()
    for committed in (4, 1, 0):
        shard.require_state(commands=committed)
    shard.require_state()


def test_a_namespace_that_was_never_used_is_accepted(shard: Shardful) -> None:
    """A new shard has no state, and inputs may wait for it."""
    shard.append(TOPICS.commands, 5)
    shard.bring_up()
    shard.require_state()
    shard.require_state(commands=0)
