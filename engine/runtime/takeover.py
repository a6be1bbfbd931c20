"""Takeover of a shard: fence its previous owner, announce the new one, bring the store to the changelog's end.

The previous owner's open transaction is settled before the store is restored, so that the changelog's end is reached at
once and nothing of a zombie can follow it. The transaction of an owner that `registry` does not name is waited for:
driver.py asks for the group's committed offsets in between.
"""

from __future__ import annotations

import structlog

from penstock.engine.core.keys import SHARD_KEY
from penstock.engine.core.rows import unpack_shard
from penstock.engine.store.changelog import restore
from penstock.engine.store.store import Store
from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import LogUnavailable
from penstock.schemas.records.registry import ShardOwned
from penstock.topics.catalogue import Topics
from penstock.topics.log import Log, Record
from penstock.topics.registry import read_registry, require_level, shard_key

logger = structlog.get_logger(__name__)

SETTLE_TIMEOUT_S = 30.0
FENCE_TIMEOUT_S = 5.0
RESTORE_TIMEOUT_S = 60.0
STALE_MS = 20 * 3_600_000
READS_MAX = 20


class Ownership:
    """Announcements in `registry` of the shards that this process owns."""

    def __init__(self, log: Log, topics: Topics, transactional_id: str, address: str) -> None:
        self._log, self._topics = log, topics
        self.transactional_id, self.address = transactional_id, address
        self.predecessors: dict[int, str] = {}
        self._taken: set[int] = set()

    def take(self, shard: int, now_ms: int) -> bool:
        """Settle the transaction that the previous owner left open, then announce this process as the owner.

        Returns whether the previous owner released the shard in order, or is this very process, or never was. Raises
        NotAdmitted if the shard's rows may be of a higher feature level, LogUnavailable."""
        registry = read_registry(self._log, self._topics, RESTORE_TIMEOUT_S)
        require_level(registry.level)
        owner = registry.owners.get(shard)
        if owner is not None and not owner.released and owner.transactional_id != self.transactional_id:
            self.predecessors[shard] = owner.transactional_id
            logger.info("taking a shard over", shard=shard, predecessor=owner.transactional_id)
            transactor = self._log.transactor(owner.transactional_id)
            try:
                transactor.recover(FENCE_TIMEOUT_S)
            finally:
                transactor.close()
        self._announce([shard], now_ms, released=False)
        is_clean = owner is None or owner.released or shard in self._taken
        self._taken.add(shard)
        return is_clean

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


def bring_up(log: Log, topics: Topics, shard: int, store: Store, now_ms: int) -> bool:
    """Replay the changelog's tail into the store; returns whether that changed it.

    A processor that was replaced without having noticed reads while its successor commits, and the end that it was
    given may lie within a transaction. The last record of each transaction is the shard's own row, so reading
    continues until it is the last one here.

    Raises StoreAheadOfLog, LogUnavailable."""
    changed, distrusted = False, _is_stale(store, now_ms)
    for _ in range(READS_MAX):
        report = restore(log, topics.state_changelog, shard, store, timeout_s=RESTORE_TIMEOUT_S, distrusted=distrusted)
        logger.info("shard restored", shard=shard, records=report.records, wiped=report.wiped)
        changed, distrusted = changed or report.wiped or report.records > 0, False
        if not report.records or report.last_key == SHARD_KEY:
            return changed
    raise LogUnavailable(
        f"{topics.state_changelog}[{shard}] was read {READS_MAX} times and ended within a transaction each time: "
        "another processor writes it"
    )


def _is_stale(store: Store, now_ms: int) -> bool:
    """Whether the changelog may have dropped deletions that this store does not have (delete.retention.ms).

    A store without the shard's row is one whose restore was interrupted: its age is not known."""
    data = store.get(SHARD_KEY)
    return data is None or now_ms - unpack_shard(data).now_ms > STALE_MS
