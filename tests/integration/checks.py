"""Checks of a log and its stores after a test: committed records are read, and stores compared with them."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from penstock.engine.store.changelog import checksum, checksum_of_changelog, stored_offset
from penstock.engine.store.rocks import RocksStore
from penstock.schemas.encoding.codec import decode
from penstock.schemas.records.activity import ActivityCompleted
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.reset import WorkflowForked
from penstock.topics.catalogue import Topics
from penstock.topics.log import Log


def decisions(log: Log, topics: Topics, shards: int) -> list[DecisionRecorded]:
    """All committed decisions, shard by shard in order."""
    found: list[DecisionRecorded] = []
    for shard in range(shards):
        first, _ = log.ends([(topics.events, shard)])[topics.events, shard]
        for batch in log.read_to_end(topics.events, shard, first, 30.0):
            found.extend(decode(record.value or b"") for record in batch)
    return found


def histories(found: list[DecisionRecorded]) -> dict[tuple[str, str], list[Any]]:
    """Events of each run in order, with those that a run which was reset shares with its base. Fails if the numbers of
    one have a gap or repeat."""
    runs: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for record in found:
        if record.first_sequence == 0:
            continue
        events, own = runs[record.workflow_id, record.run_id], [decode(data) for data in record.events]
        if isinstance(own[0], WorkflowForked):
            events.extend(runs[record.workflow_id, own[0].base_run_id][: own[0].to_event])
        assert record.first_sequence == len(events) + 1, (
            f"history of {record.workflow_id} goes from {len(events)} to {record.first_sequence}"
        )
        events.extend(own)
    return dict(runs)


def check_decisions_contiguous(found: list[DecisionRecorded]) -> None:
    """Check that each shard numbers its decisions without gaps: one writer, nothing lost, nothing twice."""
    by_shard: dict[int, list[int]] = defaultdict(list)
    for record in found:
        if not by_shard[record.shard] or by_shard[record.shard][-1] != record.decision:
            by_shard[record.shard].append(record.decision)
    for shard, numbers in by_shard.items():
        assert numbers == list(range(1, len(numbers) + 1)), f"decisions of shard {shard} are not contiguous"


def check_results_once(runs: dict[tuple[str, str], list[Any]]) -> None:
    """Check that each activity result was applied once."""
    for run, events in runs.items():
        ended = Counter(event.sequence for event in events if isinstance(event, ActivityCompleted))
        twice = [sequence for sequence, count in ended.items() if count > 1]
        assert not twice, f"{run}: activities {twice} completed twice"


def check_stores(log: Log, topics: Topics, shards: int, data: Path) -> None:
    """Check that each shard's last store equals a fresh replay of its changelog. The processors are stopped."""
    for shard in range(shards):
        store = _last_store(data / topics.namespace, shard)
        try:
            assert checksum(store) == checksum_of_changelog(log, topics.state_changelog, shard)
        finally:
            store.close()


def _last_store(folder: Path, shard: int) -> RocksStore:
    """Store with the highest offset: a processor that finds a shard's files locked restores into its own."""
    stores = [RocksStore(path) for path in sorted(folder.glob(f"shard-{shard}*"))]
    assert stores, f"there is no store of shard {shard} in {folder}"
    stores.sort(key=lambda store: stored_offset(store) or 0)
    for earlier in stores[:-1]:
        earlier.close()
    return stores[-1]
