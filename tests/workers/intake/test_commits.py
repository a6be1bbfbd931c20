"""Commits of a consumer: when they are due, and what they contain (workers/intake/commits.py)."""

from __future__ import annotations

import pytest
import structlog
from structlog.testing import capture_logs

from penstock.topics.log import CommittedOffset
from penstock.workers.intake import commits as module
from penstock.workers.intake.claims import Claim, decode_claims
from penstock.workers.intake.commits import CommitTimer, claim_of, offset_to_commit, partition_from
from penstock.workers.intake.partition import Partition
from penstock.workers.intake.progress import Progress
from tests.workers.intake.held import held_task, partition_of

AT = ("tasks", 0)


def test_a_commit_is_due_at_once_but_not_twice_within_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request is due at once, the next one when the interval has passed since the last commit."""
    now_s = [1_000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s[0])
    timer = CommitTimer()
    assert not timer.due
    timer.request()
    assert timer.due
    timer.made()
    assert not timer.pending
    timer.request()
    assert (timer.pending, timer.due) == (True, False)
    now_s[0] += module.COMMIT_INTERVAL_S
    assert timer.due


def test_a_commit_holds_progress_and_claims() -> None:
    """A new owner reads the watermark, the finished offsets, and the claims of earlier owners and of this worker."""
    progress = Progress(0)
    for offset in range(6):
        progress.delivered(offset)
    for offset in (1, 3):
        progress.finished(offset)
    earlier = Claim("earlier", {0: 10}, (2, 4))
    partition = Partition(AT, progress, {4: earlier})  # 2 is done, or was orphaned, meanwhile
    own = Claim("own", {1: 20}, (5,))
    committed = offset_to_commit(partition, own)
    assert decode_claims(committed.offset, committed.metadata) == [Claim("earlier", {0: 10}, (4,)), own]
    read = partition_from(AT, committed, 0, 6, structlog.get_logger())
    assert [offset for offset in range(6) if read.progress.delivered(offset)] == [0, 2, 4, 5]
    assert {offset: claim.holder for offset, claim in read.claimed.items()} == {4: "earlier", 5: "own"}


def test_a_claim_names_the_shards_of_its_tasks() -> None:
    """A claim has the offsets of the running tasks, and the end of the results of their shards only."""
    partition = partition_of()
    running = [held_task(3, partition, shard=1), held_task(5, partition, shard=2)]
    ends = {0: 7, 1: 8, 2: 9}
    assert claim_of(running, "own", ends) == Claim("own", {1: 8, 2: 9}, (3, 5))
    assert claim_of([], "own", ends) is None
    assert claim_of(running, "own", {}) is None


@pytest.mark.parametrize(
    ("committed", "first", "end", "start", "warnings"),
    [
        (None, 0, 9, 0, 0),
        (None, 3, 9, 3, 1),
        (CommittedOffset(5), 3, 9, 5, 0),
        (CommittedOffset(5), 7, 9, 7, 1),
        (CommittedOffset(12), 3, 9, 3, 1),
    ],
    ids=["first time", "offsets lost", "continued", "expired", "beyond the end"],
)
def test_a_partition_continues_where_its_log_allows(
    committed: CommittedOffset | None, first: int, end: int, start: int, warnings: int
) -> None:
    """A partition starts at its committed offset, or at the first kept one if that is missing, expired or invalid."""
    with capture_logs() as lines:
        partition = partition_from(AT, committed, first, end, structlog.get_logger())
    assert partition.progress.next_offset == start
    assert [line["log_level"] for line in lines] == ["warning"] * warnings
