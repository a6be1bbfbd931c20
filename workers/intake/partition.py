"""Granted partitions and the tasks held from them, shared by the polling thread and the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

from penstock.schemas.records.tasks import ActivityTask
from penstock.topics.log import TopicPartition
from penstock.workers.intake.claims import Claim
from penstock.workers.intake.contact import Contact
from penstock.workers.intake.gate import Gate, Suspicion
from penstock.workers.intake.holding import Mark
from penstock.workers.intake.progress import Progress

SLACK_FIRST, SLACK_MIN, SLACK_MAX = 128, 8, 4_096
"""How many offsets beyond the last begun one a commit allows to begin: twice as many as began since the one before."""

SLACK_GROWTH = 4
"""Factor by which more is allowed after tasks had to wait for a commit."""


class Partition:
    """One grant of a partition; each grant is a new object.

    The polling thread owns `progress`, `claimed` (claims of earlier owners, by offset), `held` (tasks delivered and
    not done, by offset), `dirty` (whether there is something to commit), `suspect_below` (end of what an earlier
    owner may have begun when it died) and `marks` (of suspects, by offset).

    A task starts if its offset is below `begun_below`, which a commit has made known (holding.py), the contact with the
    group is fresh and the gate admits it; `deferred` receives it otherwise.
    """

    __slots__ = (
        "_contact",
        "_defer",
        "_gate",
        "_lock",
        "_noted_end",
        "_released",
        "_slack",
        "begun_below",
        "begun_end",
        "claimed",
        "dirty",
        "held",
        "marks",
        "progress",
        "suspect_below",
        "topic_partition",
    )

    def __init__(
        self, topic_partition: TopicPartition, progress: Progress, claimed: Mapping[int, Claim] = MappingProxyType({})
    ) -> None:
        self.topic_partition = topic_partition
        self.progress = progress
        self.claimed = dict(claimed)
        self.held: dict[int, HeldTask] = {}
        self.dirty = False
        self.suspect_below = 0
        self.marks: dict[int, Mark] = {}
        self.begun_below = self.begun_end = self._noted_end = progress.watermark
        self._slack = SLACK_FIRST
        self._contact, self._gate = Contact(), Gate()
        self._defer: Callable[[HeldTask], None] = lambda _: None
        self._released = False
        self._lock = threading.Lock()

    def admit_by(self, contact: Contact, gate: Gate, deferred: Callable[[HeldTask], None]) -> None:
        """Let tasks start while the contact is fresh and as the gate admits them; `deferred` receives the others."""
        self._contact, self._gate, self._defer = contact, gate, deferred

    @property
    def released(self) -> bool:
        """Whether the partition was released."""
        return self._released

    def release(self) -> None:
        """Refuse further starts. On return, `started` of each held task is final."""
        with self._lock:
            self._released = True

    def start(self, held: HeldTask) -> bool:
        """Mark the task as started. Returns False if it must not start, or not now; it is deferred then."""
        with self._lock:
            if self._released or held.started:
                return False
            ordinary = held.suspicion is None and self._gate.alone is None  # spares a call for nearly all tasks
            if held.offset < self.begun_below and self._contact.fresh and (ordinary or self._gate.admits(held)):
                held.started = True
                if held.offset >= self.begun_end:
                    self.begun_end = held.offset + 1
                return True
        self._defer(held)
        return False

    def drop(self, held: HeldTask) -> bool:
        """Mark the task as not to be run. Returns False if it was released or has started."""
        with self._lock:
            if self._released or held.started:
                return False
            held.started = True
            return True

    def next_begun_below(self) -> int:
        """Return the end of what may begin after the next commit."""
        ahead = max(self.begun_end, self.progress.watermark) + self._slack
        return max(self.begun_below, ahead)

    def committed(self, begun_below: int) -> None:
        """Let tasks below the offset begin, since a commit has made that known."""
        began, self._noted_end = self.begun_end - self._noted_end, self.begun_end
        self._slack = min(max(SLACK_MIN, 2 * began, self._slack // 2), SLACK_MAX)
        self.begun_below = begun_below
        self.dirty = False

    def allow_more(self) -> None:
        """Let the next commit allow more, since tasks have to wait for it."""
        self._slack = min(self._slack * SLACK_GROWTH, SLACK_MAX)


class HeldTask:
    """A task from its delivery until its result is acknowledged. `size_bytes`: the size of its record.

    `started` is set under the partition's lock. The polling thread owns `done` and changes of `partition`.
    `suspicion`: set if it must run alone. `parked`: whether it waits without counting against the capacity.
    """

    __slots__ = (
        "_on_acknowledged",
        "done",
        "offset",
        "parked",
        "partition",
        "size_bytes",
        "started",
        "suspicion",
        "task",
    )

    def __init__(
        self,
        partition: Partition,
        offset: int,
        size_bytes: int,
        task: ActivityTask,
        on_acknowledged: Callable[[HeldTask], None],
    ) -> None:
        self.partition = partition
        self.offset = offset
        self.size_bytes = size_bytes
        self.task = task
        self.suspicion: Suspicion | None = None
        self.started = self.done = self.parked = False
        self._on_acknowledged = on_acknowledged

    @property
    def released(self) -> bool:
        """Whether another worker owns the task's partition by now."""
        return self.partition.released

    @property
    def is_ordinary(self) -> bool:
        """Whether it may run beside others, since no worker died of it."""
        return self.suspicion is None

    @property
    def startable(self) -> bool:
        """Whether the task has not started and may still start here."""
        return not (self.started or self.partition.released)

    def start(self) -> bool:
        """Mark the task as started. Returns False if it must not start, or not now."""
        return self.partition.start(self)

    def drop(self) -> bool:
        """Mark the task as not to be run. Returns False if it was released or has started."""
        return self.partition.drop(self)

    def acknowledged(self) -> None:
        """Record that the log has acknowledged the task's result. Called from any thread."""
        self._on_acknowledged(self)
