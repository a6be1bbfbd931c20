"""Takeover of a shard: fence its previous owner, announce the new one, bring the store to the changelog's end.

The previous owner's open transaction is settled before the store is restored, so that the changelog's end is reached at
once and nothing of a zombie can follow it. The transaction of an owner that `registry` does not name is waited for:
driver.py asks for the group's committed offsets in between.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

import msgspec
import structlog

from penstock.engine.core.keys import SHARD_KEY
from penstock.engine.core.rows import ShardRow, unpack_shard
from penstock.engine.store.changelog import RestoreChecks, restored_since_ms, restoring
from penstock.engine.store.store import Store, StoreReader
from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import LogUnavailable, StateMismatch
from penstock.schemas.records.registry import ShardOwned
from penstock.topics.catalogue import DELETE_RETENTION_MS, Topics
from penstock.topics.log import CommittedOffset, Log, Record, StoredRecord, TopicPartition
from penstock.topics.registry import read_registry, require_level, shard_key

logger = structlog.get_logger(__name__)

SETTLE_TIMEOUT_S = 30.0
FENCE_TIMEOUT_S = 5.0
RESTORE_TIMEOUT_S = 60.0
READS_MAX = 20

_RESTORE = (
    "restore the topics from a backup, or start the processor once with --accept-loss (see the guide to operating)"
)


class Ownership:
    """Announcements in `registry` of the shards that this process owns."""

    def __init__(self, log: Log, topics: Topics, transactional_id: str, address: str) -> None:
        self._log, self._topics = log, topics
        self.transactional_id, self.address = transactional_id, address
        self.predecessors: dict[int, str] = {}
        # Of shards that this process took: whether they need not be suspected (see `take`).
        self._clean: dict[int, bool] = {}

    def take(self, shard: int, now_ms: int) -> bool:
        """Settle the transaction that the previous owner left open, then announce this process as the owner.

        Returns whether the previous owner released the shard in order, or never was, or is this very process, which has
        opened it. Raises NotAdmitted if the shard's rows may be of a higher feature level, LogUnavailable."""
        registry = read_registry(self._log, self._topics, RESTORE_TIMEOUT_S)
        require_level(registry.level)
        owner = registry.owners.get(shard)
        is_own = owner is not None and owner.transactional_id == self.transactional_id
        if not (is_own and shard in self._clean and owner is not None and not owner.released):
            self._clean[shard] = owner is None or owner.released
            if owner is not None:
                self.predecessors[shard] = owner.transactional_id
        if owner is not None and not owner.released and not is_own:
            logger.info("taking a shard over", shard=shard, predecessor=owner.transactional_id)
            transactor = self._log.transactor(owner.transactional_id)
            try:
                transactor.recover(FENCE_TIMEOUT_S)
            finally:
                transactor.close()
        self._announce([shard], now_ms, released=False)
        return self._clean[shard]

    def opened(self, shard: int) -> None:
        """Note that this process has opened a shard: whatever its last owner left is known now."""
        self._clean[shard] = True

    def release(self, shards: list[int], now_ms: int) -> None:
        """Announce that these shards were given up, so that a successor need not fence this process."""
        self._announce(shards, now_ms, released=True)

    def _announce(self, shards: list[int], now_ms: int, *, released: bool) -> None:
        publisher = self._log.publisher()
        try:
            for shard in shards:
                publisher.send(self.entry(shard, now_ms, released=released))
            publisher.flush(SETTLE_TIMEOUT_S)
        finally:
            publisher.close()

    def entry(self, shard: int, now_ms: int, *, released: bool) -> Record:
        """The `registry` record of a shard."""
        owned = ShardOwned(
            shard=shard,
            transactional_id=self.transactional_id,
            address=self.address,
            released=released,
            at_ms=now_ms,
        )
        return Record(self._topics.registry, 0, shard_key(shard), encode(owned))


def bring_up(log: Log, topics: Topics, shard: int, store: Store, clock_ms: Callable[[], int]) -> bool:
    """All of `bringing_up` at once; returns whether that changed the store."""
    steps = bringing_up(log, topics, shard, store, clock_ms)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return bool(end.value)


def bringing_up(
    log: Log, topics: Topics, shard: int, store: Store, clock_ms: Callable[[], int], *, checked: bool = True
) -> Generator[tuple[int, int], None, bool]:
    """Replay the changelog's tail into the store, one batch a step; returns whether that changed it.

    `checked`: raise StateMismatch if the changelog cannot follow the store, or contradicts itself.

    A processor that was replaced without having noticed reads while its successor commits, and the end that it was
    given may lie within a transaction. The last record of each transaction is the shard's own row, so reading
    continues until it is the last one here.

    Raises StateMismatch, LogUnavailable, Undecodable."""
    changed, now_ms = False, clock_ms()

    def examine(store: StoreReader, records: Sequence[StoredRecord]) -> None:
        _require_lately(shard, clock_ms() - now_ms)
        if checked:
            _require_growing(store, records)

    examined = RestoreChecks(examine=examine)
    checks = msgspec.structs.replace(examined, is_stale=lambda last_ms: _is_stale(log, topics, store, last_ms, now_ms))
    for _ in range(READS_MAX):
        report = yield from restoring(
            log, topics.state_changelog, shard, store, timeout_s=RESTORE_TIMEOUT_S, checks=checks, since_ms=now_ms
        )
        logger.info("shard restored", shard=shard, records=report.records, wiped=report.wiped)
        changed = changed or report.wiped or report.records > 0
        if not report.records or report.last_key == SHARD_KEY:
            return changed
        checks = examined  # what was read just now has missed nothing
    raise LogUnavailable(
        f"{topics.state_changelog}[{shard}] was read {READS_MAX} times and ended within a transaction each time: "
        "another processor writes it"
    )


class Processed(msgspec.Struct, frozen=True):
    """What the log says of a shard's past before its store is restored: a store restored later covers it.

    `committed`: the group's offsets. `ends`: first and next offsets of the inputs. `has_history`: whether there are
    decisions; not looked up for a store with rows."""

    committed: Mapping[TopicPartition, CommittedOffset]
    ends: Mapping[TopicPartition, tuple[int, int]]
    has_history: bool


def processed(
    log: Log, topics: Topics, shard: int, store: StoreReader, committed: Mapping[TopicPartition, CommittedOffset]
) -> Processed:
    """Look it up; `committed` are the group's offsets. Raises LogUnavailable."""
    ends = log.ends([(topics.commands, shard), (topics.results, shard)])
    return Processed(committed, ends, store.get(SHARD_KEY) is None and _has_history(log, topics.events, shard))


def require_state(log: Log, topics: Topics, shard: int, store: StoreReader, before: Processed) -> None:
    """Raise StateMismatch unless a restored store covers what had been processed before its restore.

    Otherwise inputs would be processed again whose effects are in the log. Raises LogUnavailable."""
    data = store.get(SHARD_KEY)
    row = unpack_shard(data) if data is not None else ShardRow()
    positions, changelog = row.offsets, f"{topics.state_changelog}[{shard}]"
    _require_offsets(shard, row, before.committed, changelog)
    for (topic, number), (_, end) in log.ends(list(before.ends)).items():
        first, position = before.ends[topic, number][0], positions.get(topic, 0)
        if position > end:
            raise StateMismatch(
                f"{topic}[{number}] ends at {end}, but shard {shard} has processed it up to {position}: the topic has "
                f"lost records, or was created anew; {_RESTORE}"
            )
        if first > position and (data is None or topic in positions):
            raise StateMismatch(
                f"{topic}[{number}] begins at {first}, but the state of shard {shard} covers it up to {position}: its "
                f"state, or its inputs, were deleted; {_RESTORE}"
            )
    if data is None and before.has_history:
        raise StateMismatch(
            f"the state of shard {shard} is missing: {topics.events}[{shard}] holds decisions, but the changelog "
            f"{changelog} is empty; {_RESTORE}"
        )


def positions_after_loss(log: Log, shard: int, store: StoreReader, before: Processed) -> dict[str, int]:
    """Where to go on reading the inputs of a shard whose state is to be accepted as it is.

    What was processed is not processed again, although its effects on the state may be lost. Raises LogUnavailable."""
    data = store.get(SHARD_KEY)
    covered = unpack_shard(data).offsets if data is not None else {}
    positions = {}
    for (topic, number), (first, end) in log.ends(list(before.ends)).items():
        assert number == shard, "only inputs of this shard were looked up"
        committed = before.committed.get((topic, number))
        position = max(first, covered.get(topic, 0), committed.offset if committed is not None else 0)
        positions[topic] = position if position <= end else first
    return positions


def _require_offsets(
    shard: int, row: ShardRow, committed: Mapping[TopicPartition, CommittedOffset], changelog: str
) -> None:
    """Raise StateMismatch unless the shard's row has what the group's offsets say: their inputs, their transaction."""
    for (topic, number), found in committed.items():
        position = row.offsets.get(topic, 0)
        if found.offset > position:
            raise StateMismatch(
                f"the state of shard {shard} is missing: {topic}[{number}] was processed up to {found.offset}, but the "
                f"changelog {changelog} covers it up to {position}; {_RESTORE}"
            )
        if found.metadata.isdecimal() and int(found.metadata) > row.transaction:
            raise StateMismatch(
                f"the state of shard {shard} is missing: the group's offset of {topic}[{number}] is of transaction "
                f"{found.metadata}, but the changelog {changelog} ends with transaction {row.transaction}; {_RESTORE}"
            )


def _has_history(log: Log, events: str, shard: int) -> bool:
    """Whether there is a committed decision; records of aborted transactions do not count."""
    first, end = log.ends([(events, shard)])[events, shard]
    return first < end and any(log.read_to_end(events, shard, first, RESTORE_TIMEOUT_S))


def _require_growing(store: StoreReader, records: Sequence[StoredRecord]) -> None:
    """Raise StateMismatch if the numbers of transactions do not grow from the store's on: the log was overwritten."""
    data = store.get(SHARD_KEY)
    last = unpack_shard(data).transaction if data is not None else 0
    for record in records:
        if record.key == SHARD_KEY and record.value is not None:
            number = unpack_shard(record.value).transaction
            if number <= last:
                raise StateMismatch(
                    f"transaction {number} of the changelog {record.topic}[{record.partition}]@{record.offset} follows "
                    f"transaction {last} of this shard: the log has lost records and others were written in their "
                    f"place; {_RESTORE}"
                )
            last = number


def _require_lately(shard: int, took_ms: int) -> None:
    """Raise StateMismatch if a restore has taken so long that deletions behind what it had read may be gone.

    What it read is old by then, so that the store counts as stale when the shard is opened again."""
    if took_ms > DELETE_RETENTION_MS // 2:
        raise StateMismatch(
            f"the restore of shard {shard} stood still for {took_ms // 3_600_000} h, and the changelog may have "
            "dropped deletions that it had not read: it begins anew"
        )


def _is_stale(log: Log, topics: Topics, store: StoreReader, last_ms: int, now_ms: int) -> bool:
    """Whether the changelog may have dropped deletions that this store, which is behind, does not have.

    Deletions are kept for DELETE_RETENTION_MS by the broker's time. Half of that bounds the age of the store's last
    record, so that neither a wrong clock of this machine nor a long restore matters. `last_ms`: its append time; if
    it was compacted away, the clock of the shard at that time has to do."""
    data = store.get(SHARD_KEY)
    known_ms = last_ms or (unpack_shard(data).now_ms if data is not None else 0)
    known_ms = max(known_ms, restored_since_ms(store))
    return max(now_ms, _log_now_ms(log, topics)) - known_ms > DELETE_RETENTION_MS // 2


def _log_now_ms(log: Log, topics: Topics) -> int:
    """Append time of the newest record in `registry`: a shard that is taken over was just announced there."""
    first, end = log.ends([(topics.registry, 0)])[topics.registry, 0]
    newest = 0
    for batch in log.read_to_end(topics.registry, 0, max(first, end - 1), RESTORE_TIMEOUT_S):
        newest = max([newest, *(record.timestamp_ms for record in batch)])
    return newest
