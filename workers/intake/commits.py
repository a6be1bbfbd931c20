"""Commits of a consumer: when they are due, what they contain, and how a new owner continues from them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import msgspec
from structlog.typing import FilteringBoundLogger

from penstock.topics.log import CommittedOffset, TopicPartition
from penstock.workers.intake.claims import Claim, decode_claims, encode_claims
from penstock.workers.intake.holding import Holding, decode_holding, encode_holding
from penstock.workers.intake.partition import HeldTask, Partition
from penstock.workers.intake.progress import METADATA_BYTES_MAX, Progress

COMMIT_INTERVAL_S = 0.15


class CommitTimer:
    """Decides when to commit: at once after a change, but no sooner than COMMIT_INTERVAL_S after the last commit.

    Frequent commits keep the number of tasks low that run again after a crash.
    """

    def __init__(self) -> None:
        self._due_s: float | None = None
        self._last_s = 0.0

    @property
    def pending(self) -> bool:
        """Whether a commit was requested and not made."""
        return self._due_s is not None

    @property
    def due(self) -> bool:
        """Whether the requested commit should be made now."""
        return self._due_s is not None and time.monotonic() >= self._due_s

    def request(self) -> None:
        """Request a commit, unless one is pending."""
        if self._due_s is None:
            self._due_s = self._last_s + COMMIT_INTERVAL_S

    def made(self) -> None:
        """Note that the requested commit was made."""
        self._due_s, self._last_s = None, time.monotonic()


def offset_to_commit(partition: Partition, own: Claim | None = None, holding: Holding | None = None) -> CommittedOffset:
    """Return the partition's watermark with its finished offsets, the claims of earlier owners, and `own`.

    `holding`: what its owner may begin; None releases the partition in order."""
    by_claim: dict[int, tuple[Claim, list[int]]] = {}
    for offset, claim in partition.claimed.items():
        by_claim.setdefault(id(claim), (claim, []))[1].append(offset)
    claims = [msgspec.structs.replace(claim, offsets=tuple(offsets)) for claim, offsets in by_claim.values()]
    progress = partition.progress
    text = encode_claims(progress.watermark, [*claims, own] if own is not None else claims)
    if holding is not None:
        text += encode_holding(progress.watermark, holding)
    return CommittedOffset(progress.watermark, progress.metadata(METADATA_BYTES_MAX - len(text)) + text)


def claim_of(running: Iterable[HeldTask], holder: str, results_ends: Mapping[int, int]) -> Claim | None:
    """Return the claim of `holder` on tasks that it keeps running, None if there are none or `results_ends` is empty.

    `results_ends`: the end of the results by shard, read before any of these tasks published its result.
    """
    held = list(running)
    if not held or not results_ends:
        return None
    shards = sorted({one.task.shard for one in held})
    return Claim(holder, {shard: results_ends[shard] for shard in shards}, tuple(one.offset for one in held))


def partition_from(
    topic_partition: TopicPartition,
    committed: CommittedOffset | None,
    first: int,
    end: int,
    logger: FilteringBoundLogger,
) -> Partition:
    """Continue a partition from its last commit. `first`: the first offset kept, `end`: the next offset."""
    claims = decode_claims(committed.offset, committed.metadata) if committed is not None else []
    claimed = {offset: claim for claim in claims for offset in claim.offsets}
    return Partition(topic_partition, _progress_from(topic_partition, committed, first, end, logger), claimed)


def take_over(partition: Partition, committed: CommittedOffset | None, owner: str) -> None:
    """Continue what the last commit says about its writer. `owner`: token of the consumer that takes over.

    A commit of its own says what it did itself, and that no other consumer had the partition since."""
    holding = decode_holding(committed.offset, committed.metadata) if committed is not None else None
    if holding is None:
        return
    partition.begun_below = max(partition.begun_below, holding.begun_below)
    if holding.owner == owner:
        partition.marks.update(holding.marks)
    else:
        partition.suspect_below = holding.begun_below
        partition.marks.update((offset, mark.inherited) for offset, mark in holding.marks.items())


def _progress_from(
    topic_partition: TopicPartition,
    committed: CommittedOffset | None,
    first: int,
    end: int,
    logger: FilteringBoundLogger,
) -> Progress:
    if committed is None:
        if first:
            logger.warning(
                "the group has no offsets, though its tasks were trimmed: continuing with the tasks that are kept",
                partition=topic_partition,
                from_offset=first,
            )
        return Progress(first)
    if committed.offset > end:
        logger.warning("committed offset is beyond the log's end; starting over", partition=topic_partition, end=end)
        return Progress(first)
    progress = Progress(committed.offset, committed.metadata)
    if first > committed.offset:
        logger.warning("tasks expired before they were run", partition=topic_partition, to_offset=first)
        progress.skip_to(first)
    return progress
