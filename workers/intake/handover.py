"""Handover of running tasks when their partition moves to another worker.

A worker that releases a partition goes on with the tasks that run there, and claims them in its last commit: with its
name, and the offset from which their results will be on `results`. The next owner does not start a claimed task. It
reads the results and the group's members: a task whose result was published is done, and a task whose holder left the
group without publishing a result is orphaned and run by the new owner.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import OffsetOutOfRange, Undecodable
from penstock.schemas.records.tasks import ActivityTask, TaskCompleted, TaskFailed, TaskStarted
from penstock.topics.log import Log, StoredRecord
from penstock.workers.intake.claims import Claim
from penstock.workers.intake.partition import HeldTask, Partition

CHECK_INTERVAL_S = 1.0
READ_TIMEOUT_S = 5.0

Token = tuple[str, str, int, int]
"""Workflow id, run id, sequence and attempt, which a task and its result have in common."""


class Handover:
    """Claimed tasks that were delivered to this worker, until they are done or orphaned. Used by one thread.

    `name` returns this worker's current name in the group.
    """

    def __init__(self, log: Log, group: str, results_topic: str, name: Callable[[], str]) -> None:
        self._log, self._group, self._results_topic, self._name = log, group, results_topic, name
        self._waiting: dict[Token, tuple[HeldTask, Claim]] = {}
        self._done: list[HeldTask] = []
        self._positions: dict[int, int] = {}
        self._missing: frozenset[str] = frozenset()
        self._next_check_s = 0.0

    def add(self, held: HeldTask, claim: Claim) -> None:
        """Wait for the result of a task that the claim's holder runs."""
        self._waiting[_token(held.task)] = (held, claim)
        shard = held.task.shard
        start = claim.results_start.get(shard, 0)
        self._positions[shard] = min(start, self._positions.get(shard, start))
        self._next_check_s = 0.0

    def drop(self, partition: Partition) -> None:
        """Stop waiting for the tasks of a released partition."""
        self._waiting = {token: one for token, one in self._waiting.items() if one[0].partition is not partition}
        self._done = [held for held in self._done if held.partition is not partition]
        self._drop_positions()

    def check(self) -> tuple[list[HeldTask], list[HeldTask]]:
        """Return the tasks that are done and those that are orphaned, at most once every CHECK_INTERVAL_S.

        Raises LogUnavailable; the next call then returns what was found before the error."""
        if not (self._waiting or self._done) or time.monotonic() < self._next_check_s:
            return [], []
        self._next_check_s = time.monotonic() + CHECK_INTERVAL_S
        self._read_results()
        absent = self._absent_holders()
        tokens = [token for token, (_, claim) in self._waiting.items() if claim.holder in absent]
        orphaned = [self._waiting.pop(token)[0] for token in tokens]
        done, self._done = self._done, []
        self._drop_positions()
        return done, orphaned

    def _absent_holders(self) -> set[str]:
        """Return the holders that will publish no further results.

        A holder counts as absent after two checks without it, with the results read in between. This worker's own name
        is always included: a task of its own that still runs is retained (retained.py) and never gets here."""
        holders = {claim.holder for _, claim in self._waiting.values()}
        if not holders:
            return set()
        before, self._missing = self._missing, frozenset(holders - self._log.members(self._group))
        return {*(before & self._missing), self._name()}

    def _read_results(self) -> None:
        """Move the waiting tasks whose results were published since the last check to the done ones."""
        for shard in list(self._positions):
            try:
                for batch in self._log.read_to_end(self._results_topic, shard, self._positions[shard], READ_TIMEOUT_S):
                    found = (self._waiting.pop(token, None) for token in map(_token_of, batch) if token is not None)
                    self._done += [waiting[0] for waiting in found if waiting is not None]
                    self._positions[shard] = batch[-1].offset + 1
            except OffsetOutOfRange:  # trimmed meanwhile, so the shard has processed those results
                first, end = self._log.ends([(self._results_topic, shard)])[self._results_topic, shard]
                self._positions[shard] = min(max(self._positions[shard], first), end)

    def _drop_positions(self) -> None:
        """Stop reading shards for which no task waits."""
        shards = {held.task.shard for held, _ in self._waiting.values()}
        self._positions = {shard: offset for shard, offset in self._positions.items() if shard in shards}


def _token(task: ActivityTask) -> Token:
    return task.workflow_id, task.run_id, task.sequence, task.attempt


def _token_of(record: StoredRecord) -> Token | None:
    try:
        result = decode(record.value or b"")
    except Undecodable:
        return None
    is_end = isinstance(result, TaskCompleted | TaskFailed) or (isinstance(result, TaskStarted) and result.outside)
    if not is_end:
        return None
    return result.workflow_id, result.run_id, result.sequence, result.attempt
