"""How does a shard change hands? Fence who had it, say that we have it, bring its store to the changelog's end.

Order (DESIGN: restore after init_transactions): the predecessor's open transaction is settled first, so that the
changelog's end is reached at once and nothing of a zombie can follow it. One that `registry` does not name is waited
for: driver.py asks for the group's committed offsets in between.
"""

from __future__ import annotations

import structlog

from penstock.engine.core.rows import SHARD_KEY, unpack_shard
from penstock.engine.store.changelog import restore
from penstock.engine.store.store import Store
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.errors import Undecodable
from penstock.schemas.records.registry import ShardOwned
from penstock.topics.catalogue import Topics
from penstock.topics.log import Log, Record

log = structlog.get_logger(__name__)

SETTLE_TIMEOUT_S = 30.0
RESTORE_TIMEOUT_S = 60.0
STALE_MS = 20 * 3_600_000


class Ownership:
    """What this process says in `registry` about the shards it has, and what others said before."""

    def __init__(self, events: Log, topics: Topics, transactional_id: str, address: str) -> None:
        self._log, self._topics = events, topics
        self.transactional_id, self.address = transactional_id, address

    def take(self, shard: int, now_ms: int) -> None:
        """Settle what the predecessor left open, then announce this process as the owner."""
        owner = self._owner(shard)
        if owner is not None and not owner.released and owner.transactional_id != self.transactional_id:
            log.info("taking a shard over", shard=shard, predecessor=owner.transactional_id)
            transactor = self._log.transactor(owner.transactional_id)
            try:
                transactor.recover(SETTLE_TIMEOUT_S)
            finally:
                transactor.close()
        self._announce([shard], now_ms, released=False)

    def release(self, shards: list[int], now_ms: int) -> None:
        """Say goodbye, so that a successor need not fence this process."""
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
        """What `registry` is told of a shard."""
        owned = ShardOwned(
            shard=shard,
            transactional_id=self.transactional_id,
            address=self.address,
            released=released,
            at_ms=now_ms,
        )
        return Record(self._topics.registry, 0, _key(shard), encode(owned))

    def _owner(self, shard: int) -> ShardOwned | None:
        first, _ = self._log.ends([(self._topics.registry, 0)])[self._topics.registry, 0]
        found: ShardOwned | None = None
        for batch in self._log.read_to_end(self._topics.registry, 0, first, RESTORE_TIMEOUT_S):
            for record in batch:
                if record.key == _key(shard) and record.value:
                    found = _entry(record.value) or found
        return found


def _key(shard: int) -> bytes:
    return b"shard/%d" % shard


def _entry(value: bytes) -> ShardOwned | None:
    try:
        entry = decode(value)
    except Undecodable:
        return None
    return entry if isinstance(entry, ShardOwned) else None


def bring_up(events: Log, topics: Topics, shard: int, store: Store, now_ms: int) -> bool:
    """Replay the changelog's tail into the store; whether that changed it. Raises StoreAheadOfLog, LogUnavailable."""
    report = restore(
        events,
        topics.state_changelog,
        shard,
        store,
        timeout_s=RESTORE_TIMEOUT_S,
        distrusted=_is_stale(store, now_ms),
    )
    log.info("shard restored", shard=shard, records=report.records, wiped=report.wiped)
    return report.wiped or report.records > 0


def _is_stale(store: Store, now_ms: int) -> bool:
    """Whether the changelog may have dropped deletions that this store has not seen (delete.retention.ms)."""
    data = store.get(SHARD_KEY)
    return data is not None and now_ms - unpack_shard(data).now_ms > STALE_MS
