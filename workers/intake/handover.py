"""Who runs what was running when its partition moved? The worker that started it, as long as that lives.

A worker that gives a partition up lets go on what runs there. Its last commit marks each such task: who runs it, and
from where on its result will lie on `results`. The next owner does not start a marked task. It looks at the results,
and at the group: a task whose result came is done, and one whose worker left the group without a result is run here.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import OffsetOutOfRange, Undecodable
from penstock.schemas.records.tasks import ActivityTask, TaskCompleted, TaskFailed
from penstock.topics.log import Log, StoredRecord
from penstock.workers.intake.claims import Mark
from penstock.workers.intake.delivery import Delivery, Partition

LOOK_EVERY_S = 1.0
READ_TIMEOUT_S = 5.0

Token = tuple[str, str, int, int]
"""Workflow id, run id, sequence and attempt: what a task and its result have in common."""


class Handover:
    """The marked tasks that this worker was delivered, until it is known what became of them. Used by one thread.

    `name` gives this worker's present name in its group."""

    def __init__(self, log: Log, group: str, results_topic: str, name: Callable[[], str]) -> None:
        self._log, self._group, self._results_topic, self._name = log, group, results_topic, name
        self._waiting: dict[Token, tuple[Delivery, Mark]] = {}
        self._done: list[Delivery] = []
        self._positions: dict[int, int] = {}
        self._missing: frozenset[str] = frozenset()
        self._look_s = 0.0

    def add(self, delivery: Delivery, mark: Mark) -> None:
        """Wait for what becomes of a task that the mark's holder runs."""
        self._waiting[_token(delivery.task)] = (delivery, mark)
        shard = delivery.task.shard
        start = mark.results.get(shard, 0)
        self._positions[shard] = min(start, self._positions.get(shard, start))
        self._look_s = 0.0

    def drop(self, partition: Partition) -> None:
        """The partition is somebody else's now, and so is the waiting."""
        self._waiting = {token: one for token, one in self._waiting.items() if one[0].partition is not partition}
        self._done = [delivery for delivery in self._done if delivery.partition is not partition]
        self._forget_positions()

    def look(self) -> tuple[list[Delivery], list[Delivery]]:
        """The tasks that are done, and those that have to be run here. Looks at most once a second.

        Raises LogUnavailable; what was found before that is told by the next look."""
        if not (self._waiting or self._done) or time.monotonic() < self._look_s:
            return [], []
        self._look_s = time.monotonic() + LOOK_EVERY_S
        self._read_results()
        gone = self._gone()
        ours = [token for token, (_, mark) in self._waiting.items() if mark.holder in gone]
        run = [self._waiting.pop(token)[0] for token in ours]
        done, self._done = self._done, []
        self._forget_positions()
        return done, run

    def _gone(self) -> set[str]:
        """Holders that will publish nothing more, the results being read. One that is not in the group is looked for
        twice, with the results in between; this worker itself, had it still the task, would have gone on with it."""
        holders = {mark.holder for _, mark in self._waiting.values()}
        if not holders:
            return set()
        before, self._missing = self._missing, frozenset(holders - self._log.members(self._group))
        return {*(before & self._missing), self._name()}

    def _read_results(self) -> None:
        """Note what was published since the last look, of the shards that matter."""
        for shard in list(self._positions):
            try:
                for batch in self._log.read_to_end(self._results_topic, shard, self._positions[shard], READ_TIMEOUT_S):
                    found = (self._waiting.pop(token, None) for token in map(_token_of, batch) if token is not None)
                    self._done += [waiting[0] for waiting in found if waiting is not None]
                    self._positions[shard] = batch[-1].offset + 1
            except OffsetOutOfRange:  # trimmed meanwhile: what lay there was processed long ago
                first, end = self._log.ends([(self._results_topic, shard)])[self._results_topic, shard]
                self._positions[shard] = min(max(self._positions[shard], first), end)

    def _forget_positions(self) -> None:
        shards = {delivery.task.shard for delivery, _ in self._waiting.values()}
        self._positions = {shard: offset for shard, offset in self._positions.items() if shard in shards}


def _token(task: ActivityTask) -> Token:
    return task.workflow_id, task.run_id, task.sequence, task.attempt


def _token_of(record: StoredRecord) -> Token | None:
    try:
        result = decode(record.value or b"")
    except Undecodable:
        return None
    if not isinstance(result, TaskCompleted | TaskFailed):
        return None
    return result.workflow_id, result.run_id, result.sequence, result.attempt
