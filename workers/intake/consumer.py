"""Consumption of one task queue: one thread, one member of the queue's consumer group.

Each round continues the granted partitions, notes acknowledged results, commits when due, polls, and dispatches. A
task is done once the log has acknowledged its result; only then does the next commit include it. A round whose contact
with the group is too old (contact.py) asks the log first whether the partitions are still this worker's.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Event
from typing import Protocol

import msgspec
from structlog.typing import FilteringBoundLogger

from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.errors import Fenced, LogError, OffsetOutOfRange, Undecodable
from penstock.schemas.records.tasks import ActivityTask
from penstock.topics.dead_letters import dead_letter
from penstock.topics.log import CommittedOffset, Log, Member, Record, StoredRecord, TopicPartition
from penstock.workers.execution.outbox import Outbox
from penstock.workers.intake.capacity import Capacity
from penstock.workers.intake.commits import CommitTimer, claim_of, offset_to_commit, partition_from, take_over
from penstock.workers.intake.contact import Contact
from penstock.workers.intake.gate import Gate
from penstock.workers.intake.handover import Handover
from penstock.workers.intake.holding import BESIDE, DEADLY, Holding, Mark
from penstock.workers.intake.partition import HeldTask, Partition
from penstock.workers.intake.retained import RetainedTasks
from penstock.workers.intake.suspects import RETRIED_LEVEL, Suspects, worker_died
from penstock.workers.intake.trimming import Trimming
from penstock.workers.intake.unhosted import Unhosted

POLL_BUSY_S = 0.01
POLL_SUSPECTS_S = 0.001  # each suspect takes two rounds
POLL_IDLE_S = 0.2
FULL_WAIT_S = 0.1
RETRY_DELAY_S = 0.5
COMMITTED_TIMEOUT_S = 10.0
RELEASE_FLUSH_S = 2.0
POLL_RECORDS_MAX = 1_000


class ConsumerSettings(msgspec.Struct, frozen=True):
    """Names and bounds of a consumer. It holds at most `held_max` tasks and fetches again at `held_low`.

    `hosted`: names of the worker's activities. `shards`, `tasks_partitions`: partitions of results and tasks."""

    queue: str
    group: str
    tasks_topic: str
    results_topic: str
    dead_letters_topic: str
    dead_letters_partitions: int
    held_max: int
    held_low: int
    hosted: frozenset[str]
    shards: int
    tasks_partitions: int


class Dispatch(Protocol):
    """Receiver of tasks of a queue that are to be run, before those that wait if `first`."""

    def __call__(self, queue: str, tasks: list[HeldTask], *, first: bool = False) -> None: ...


class QueueConsumer:
    """Feeds a worker from one task queue.

    `run` is the body of its thread; `granted` and `released` are called in it, the other public methods from any
    thread. `gate` is shared by the consumers of the worker. `on_released` is called when partitions were released, so
    that their waiting tasks are dropped.
    """

    def __init__(
        self,
        log: Log,
        settings: ConsumerSettings,
        outbox: Outbox,
        logger: FilteringBoundLogger,
        *,
        gate: Gate,
        dispatch: Dispatch,
        on_released: Callable[[], None],
    ) -> None:
        self._log, self._settings, self._outbox = log, settings, outbox
        self._logger = logger
        self._dispatch, self._on_released = dispatch, on_released
        self._member: Member
        self._partitions: dict[TopicPartition, Partition] = {}
        self._granted: set[TopicPartition] = set()
        self._retained = RetainedTasks()
        self._handover = Handover(log, settings.group, settings.results_topic, lambda: self._member.name)
        self._acknowledged: deque[HeldTask] = deque()
        self._capacity = Capacity(settings.held_max, settings.held_low)
        self._paused = False
        self._owner = uuid.uuid4().hex[:8]
        self._contact, self._gate = Contact(), gate
        self._granted_as = ""
        self._deferred: deque[HeldTask] = deque()
        self._suspects = Suspects(
            gate, lambda one: self._commit_held([one]), lambda held: dispatch(settings.queue, [held], first=True)
        )
        self._unhosted = Unhosted(
            settings.hosted,
            self._give_back,
            logger,
            shards=settings.shards,
            partitions=settings.tasks_partitions,
        )
        self._trimming = Trimming(log, logger)
        self._commit_timer = CommitTimer()
        self._draining = Event()
        self._finishing = Event()

    @property
    def queue(self) -> str:
        """Name of the task queue."""
        return self._settings.queue

    # Called from other threads.

    def acknowledged(self, held: HeldTask) -> None:
        """Note that the log has acknowledged the task's result."""
        self._acknowledged.append(held)

    def drain(self) -> None:
        """Take no more tasks; stay in the group and go on committing."""
        self._draining.set()

    def finish(self) -> None:
        """Commit, leave the group and end the thread."""
        self._draining.set()
        self._finishing.set()
        self._log.wake()

    # The polling thread.

    def run(self) -> None:
        """Consume until `finish`. Raises errors that a retry cannot resolve."""
        self._member = self._log.join(self._settings.group, [self._settings.tasks_topic], self)
        try:
            while not self._finishing.is_set():
                try:
                    self._round()
                except OffsetOutOfRange as error:
                    self._skip_expired(error)
                except LogError as error:
                    self._logger.warning("log unavailable, trying again", error=str(error))
                    self._finishing.wait(RETRY_DELAY_S)
        finally:
            self._member.close()
            self._trimming.finish()

    def granted(self, partitions: Sequence[TopicPartition]) -> None:
        """Continue these in the next round, since committed offsets are not read inside the log's callback."""
        self._granted.update(partitions)

    def released(self, partitions: Sequence[TopicPartition], *, lost: bool) -> None:
        """Start no more tasks of these and commit those that are done. Running ones go on, and are claimed."""
        self._granted.difference_update(partitions)
        leaving = [self._partitions[at] for at in partitions if at in self._partitions]
        for partition in leaving:
            partition.release()
        if not lost:
            self._commit_last(leaving)
        for partition in leaving:
            self._handover.drop(partition)
            self._suspects.drop(partition)
            self._unhosted.drop(partition)
        for partition in leaving:
            self._remove(partition)
        self._on_released()

    def _round(self) -> None:
        if self._is_in_contact():
            if self._granted:
                self._continue_granted()
            self._finish_acknowledged()
            self._check_handover()
            self._unhosted.return_due()
            if not self._draining.is_set():
                self._suspects.advance()
            self._admit_deferred()
            self._commit_when_due()
            self._trimming.trim_when_due()
        records = self._member.poll(self._make_room(), self._poll_timeout_s())
        if records:
            self._take(records)

    def _is_in_contact(self) -> bool:
        """Whether the group still keeps the partitions for this worker. Looked up after a gap between two rounds; while
        it is not known nothing is begun and committed, and the next poll reports the lost partitions."""
        if self._partitions and not self._contact.fresh:
            try:
                # A member that has joined anew has another name, and no claim to what it held under the old one.
                name = self._member.name
                present = name == self._granted_as and name in self._log.members(self._settings.group)
            except LogError:
                return False
            if not present:
                self._logger.warning("out of contact for longer than the session; starting nothing")
                return False
        self._contact.note(self._member.session_timeout_s)
        return True

    # Partitions.

    def _continue_granted(self) -> None:
        """Start each granted partition at its watermark, with the finished offsets above it."""
        granted = sorted(self._granted)
        self._granted_as = self._member.name
        committed = self._member.committed(granted, COMMITTED_TIMEOUT_S)
        ends = self._log.ends(granted)
        partitions = {at: partition_from(at, committed.get(at), *ends[at], self._logger) for at in granted}
        for at, partition in partitions.items():
            partition.admit_by(self._contact, self._gate, self._deferred.append)
            take_over(partition, committed.get(at), self._owner)
            self._retained.restore(partition, ends[at][1])
        if not self._commit_held(partitions.values()):
            return
        self._log_suspicion(partitions.values())
        self._member.start({at: partition.progress.next_offset for at, partition in partitions.items()})
        self._partitions.update(partitions)
        self._granted.difference_update(granted)
        if self._paused:
            self._member.pause(granted)
        self._retained.prune(self._partitions)

    def _log_suspicion(self, partitions: Iterable[Partition]) -> None:
        suspect = [one for one in partitions if one.suspect_below > one.progress.watermark]
        if suspect:
            self._logger.warning(
                "another worker ended without releasing its partitions; what it may have begun runs one by one",
                partitions=[one.topic_partition[1] for one in suspect],
                offsets_max=sum(one.suspect_below - one.progress.watermark for one in suspect),
            )

    def _remove(self, partition: Partition) -> None:
        del self._partitions[partition.topic_partition]
        for held in partition.held.values():
            if not held.parked:
                self._capacity.remove(held)
        self._retained.retain(partition)

    def _skip_expired(self, error: OffsetOutOfRange) -> None:
        """Continue behind the tasks that were deleted before they were delivered."""
        self._logger.warning("tasks expired before they were run", error=str(error))
        ends = self._log.ends(list(self._partitions))
        for at, partition in self._partitions.items():
            partition.progress.skip_to(ends[at][0])
            partition.dirty = True
        self._member.start({at: partition.progress.next_offset for at, partition in self._partitions.items()})
        if self._paused:
            self._member.pause(list(self._partitions))

    # Capacity.

    def _make_room(self) -> int:
        """Pause or resume fetching, and return how many records to poll.

        A full consumer first waits a little, since a pause discards the records that were fetched already."""
        if self._capacity.full and not self._paused and not self._draining.is_set():
            self._wait_for_room()
        if self._draining.is_set() or self._capacity.full or self._unhosted.full:
            self._pause()
            return 1
        if self._paused and self._capacity.low:
            self._member.resume(list(self._partitions))
            self._paused = False
        return max(1, min(POLL_RECORDS_MAX, self._capacity.room))

    def _pause(self) -> None:
        if not self._paused:
            self._member.pause(list(self._partitions))
            self._paused = True

    def _wait_for_room(self) -> None:
        """Wait up to FULL_WAIT_S until there is room for a good batch."""
        deadline_s = time.monotonic() + FULL_WAIT_S
        while time.monotonic() < deadline_s and not self._draining.is_set():
            time.sleep(0.001)
            self._finish_acknowledged()
            self._commit_when_due()
            if self._capacity.low or self._deferred or self._suspects:
                return

    def _poll_timeout_s(self) -> float:
        """Return how long to wait for records: briefly while acknowledgements may arrive that are to be committed."""
        if self._suspects or self._deferred:
            return POLL_SUSPECTS_S
        busy = self._capacity.tasks or self._commit_timer.pending or self._draining.is_set()
        return POLL_BUSY_S if busy else POLL_IDLE_S

    # Tasks.

    def _take(self, records: Sequence[StoredRecord]) -> None:
        """Dispatch the tasks that are to be run here."""
        tasks = [held for record in records if (held := self._accept(record)) is not None]
        if tasks:
            self._dispatch(self._settings.queue, tasks)

    def _accept(self, record: StoredRecord) -> HeldTask | None:
        """Return the task to run; None for a record that is done, runs here or elsewhere, or is not a task."""
        partition = self._partitions.get((record.topic, record.partition))
        if partition is None:
            return None
        retained = self._retained.take(partition.topic_partition, record.offset)
        if not partition.progress.delivered(record.offset):
            partition.marks.pop(record.offset, None)
            self._mark_dirty(partition)
            return None
        if retained is not None:
            self._adopt(retained, partition)
            return None
        try:
            task = _decode(record)
        except Undecodable as error:
            self._bury(record, partition, error)
            return None
        held = self._hold(partition, record, task)
        claim = partition.claimed.get(record.offset)
        if claim is not None:
            self._handover.add(held, claim)
            return None
        if held.offset < partition.suspect_below or partition.marks or task.suspect:
            return self._examine(held)
        return held if task.activity in self._settings.hosted else self._examine(held)

    def _examine(self, held: HeldTask) -> HeldTask | None:
        """Return the task if it can run at once, beside others."""
        partition, mark = held.partition, held.partition.marks.get(held.offset)
        if mark is not None and mark.state == DEADLY:
            self._report_death(held)
        elif self._unhosted.park(held):
            self._capacity.remove(held)
            held.parked = True
        elif mark is not None or held.offset < partition.suspect_below or held.task.suspect:
            level = mark.level if mark is not None else 0
            self._suspects.add(held, max(level, RETRIED_LEVEL) if held.task.suspect else level)
        else:
            return held
        return None

    def _report_death(self, held: HeldTask) -> None:
        """Report an attempt that ended its worker as failed, so that it is counted."""
        task = held.task
        self._logger.error(
            "activity ended its worker",
            activity=task.activity,
            workflow_id=task.workflow_id,
            run_id=task.run_id,
            attempt=task.attempt,
        )
        failed = encode(worker_died(task))
        self._settle(held, Record(self._settings.results_topic, task.shard, task.workflow_id.encode(), failed))

    def _give_back(self, held: HeldTask, record: Record) -> None:
        """Append a parked task to its queue again."""
        held.parked = False
        self._capacity.add(held)
        self._settle(held, record)

    def _settle(self, held: HeldTask, record: Record) -> None:
        """Send a record instead of running the task, which is done once the record is acknowledged."""
        held.task = _NO_TASK
        held.started = True
        self._outbox.send(record, held.acknowledged)

    def _hold(self, partition: Partition, record: StoredRecord, task: ActivityTask) -> HeldTask:
        held = HeldTask(partition, record.offset, len(record.value or b""), task, self.acknowledged)
        partition.held[record.offset] = held
        self._capacity.add(held)
        return held

    def _adopt(self, held: HeldTask, partition: Partition) -> None:
        """Hold a retained task again; it is running or done."""
        partition.claimed.pop(held.offset, None)
        held.partition = partition
        partition.held[held.offset] = held
        if held.suspicion is not None:
            partition.marks[held.offset] = Mark(held.suspicion.level, BESIDE)
        self._capacity.add(held)
        if held.done:
            self._finish(held)

    def _bury(self, record: StoredRecord, partition: Partition, error: Undecodable) -> None:
        """Send an undecodable record to the dead letters; it is done once that is acknowledged."""
        self._logger.warning("undecodable task", error=str(error))
        letter = dead_letter(
            record,
            "undecodable",
            str(error),
            int(time.time() * 1_000),
            topic=self._settings.dead_letters_topic,
            partitions=self._settings.dead_letters_partitions,
        )
        self._settle(self._hold(partition, record, _NO_TASK), letter)

    def _check_handover(self) -> None:
        """Finish the claimed tasks that their holders finished, and run those that are orphaned."""
        try:
            done, orphaned = self._handover.check()
        except LogError as error:  # other tasks go on meanwhile
            self._logger.warning("claimed tasks not checked, trying again", error=str(error))
            return
        for held in (*done, *orphaned):
            held.partition.claimed.pop(held.offset, None)
        for held in done:
            self._finish(held)
        if orphaned:
            self._logger.info("running tasks of a worker that left the group", tasks=len(orphaned))
        for held in orphaned:  # one of them may be why it left
            self._suspects.add(held, 0)

    def _admit_deferred(self) -> None:
        """Dispatch tasks again that could not start, if they can now; those beyond the last commit need another.

        While a suspect closes the gate, the others stay deferred, and so does the suspect until it is marked."""
        deferred = [held for _ in range(len(self._deferred)) if (held := self._deferred.popleft()).startable]
        alone = self._gate.alone
        if alone is not None:
            self._deferred.extend(held for held in deferred if held is not alone)
            deferred = [held for held in deferred if held is alone and held.suspicion and held.suspicion.marked]
        beyond = {held.partition for held in deferred if held.offset >= held.partition.begun_below}
        for partition in beyond:
            partition.allow_more()
        try:
            if beyond:
                self._commit_held(beyond)
        finally:
            if deferred:
                self._dispatch(self._settings.queue, deferred, first=True)

    def _finish_acknowledged(self) -> None:
        """Finish the tasks whose results were acknowledged since the last call."""
        while self._acknowledged:
            held = self._acknowledged.popleft()
            if held.done:  # at its start; this is its result
                continue
            held.done = True
            partition = held.partition
            if self._partitions.get(partition.topic_partition) is partition:
                self._finish(held)

    def _finish(self, held: HeldTask) -> None:
        partition = held.partition
        del partition.held[held.offset]
        partition.progress.finished(held.offset)
        if partition.marks:
            self._suspects.finished(held)
            partition.marks.pop(held.offset, None)
        self._capacity.remove(held)
        self._mark_dirty(partition)

    # Commits.

    def _mark_dirty(self, partition: Partition) -> None:
        partition.dirty = True
        self._commit_timer.request()

    def _commit_when_due(self) -> None:
        if not self._commit_timer.due or not self._contact.fresh:
            return
        self._commit_held([partition for partition in self._partitions.values() if partition.dirty])
        self._commit_timer.made()

    def _commit_held(self, partitions: Iterable[Partition]) -> bool:
        """Commit partitions that stay here, with what may begin from now on. Returns False if that was refused."""
        below = {partition: partition.next_begun_below() for partition in partitions}
        offsets = {
            partition.topic_partition: offset_to_commit(
                partition, holding=Holding(self._owner, begun_below, partition.marks)
            )
            for partition, begun_below in below.items()
        }
        if not self._commit(offsets):
            return False
        for partition, begun_below in below.items():
            partition.committed(begun_below)
        return True

    def _commit(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> bool:
        """Commit. Returns False if this member was fenced; the next poll then reports the lost partitions."""
        try:
            if offsets:
                self._member.commit(offsets)
                self._trimming.committed(offsets)
        except Fenced as error:
            self._logger.warning("commit refused", error=str(error))
            return False
        return True

    def _commit_last(self, leaving: Sequence[Partition]) -> None:
        """Commit what is done of released partitions, and claim what goes on running.

        Waits up to RELEASE_FLUSH_S for the acknowledgement of results that were sent."""
        ends: Mapping[int, int] = {}
        try:
            ends = self._results_ends(leaving)  # read before any claimed task can publish its result
            self._outbox.flush(RELEASE_FLUSH_S)
        except LogError as error:
            self._logger.warning("results not acknowledged in time; their tasks will run again", error=str(error))
        self._finish_acknowledged()
        offsets = {}
        for partition in leaving:
            claim = claim_of(self._running(partition), self._member.name, ends)
            offsets[partition.topic_partition] = offset_to_commit(partition, claim)
        try:
            if self._commit(offsets):
                for partition in leaving:
                    partition.dirty = False
        except LogError as error:
            self._logger.warning("last commit failed; tasks finished since the one before run again", error=str(error))

    def _running(self, partition: Partition) -> list[HeldTask]:
        """Return the tasks that go on without the partition; none if this worker is about to leave the group."""
        if self._finishing.is_set():
            return []
        return [held for held in partition.held.values() if held.started and held.task is not _NO_TASK]

    def _results_ends(self, leaving: Sequence[Partition]) -> Mapping[int, int]:
        """Return the next offset of the results, for each shard for which a task runs."""
        shards = {held.task.shard for partition in leaving for held in self._running(partition)}
        found = self._log.ends([(self._settings.results_topic, shard) for shard in sorted(shards)]) if shards else {}
        return {shard: end for (_, shard), (_, end) in found.items()}


_NO_TASK = ActivityTask(workflow_id="", run_id="", sequence=0, attempt=0, activity="", input=b"", queue="", shard=0)
"""Stands for the task of an undecodable record."""


def _decode(record: StoredRecord) -> ActivityTask:
    """Decode a record of a task queue. Raises Undecodable with the record's position."""
    try:
        task = decode(record.value or b"")
        if not isinstance(task, ActivityTask):
            raise Undecodable(f"The record is a {type(task).__name__}, not an ActivityTask.")
    except Undecodable as error:
        raise Undecodable(error.detail, topic=record.topic, partition=record.partition, offset=record.offset) from error
    return task
