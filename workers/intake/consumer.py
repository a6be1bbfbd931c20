"""How do tasks of one queue come in, and how is what is done remembered? One thread, one member of the queue's group.

Round: begin what was granted, note what was acknowledged, commit when due, poll, hand over. A task is done when the
log has acknowledged its result; only then does the next commit tell of it. A commit comes at once after something is
done, but not within COMMIT_EVERY_S of the one before, so that little is run again after a crash.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Event

import msgspec
from structlog.typing import FilteringBoundLogger

from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import Fenced, LogError, OffsetOutOfRange, Undecodable
from penstock.schemas.records.tasks import ActivityTask
from penstock.topics.dead_letters import dead_letter
from penstock.topics.log import CommittedOffset, Log, Member, StoredRecord, TopicPartition
from penstock.workers.execution.outbox import Outbox
from penstock.workers.intake.claims import Mark, from_text, to_text
from penstock.workers.intake.delivery import Delivery, Partition
from penstock.workers.intake.handover import Handover
from penstock.workers.intake.progress import METADATA_BYTES_MAX, Progress

COMMIT_EVERY_S = 0.15
POLL_BUSY_S = 0.01
POLL_IDLE_S = 0.2
FULL_WAIT_S = 0.1
RETRY_DELAY_S = 0.5
COMMITTED_TIMEOUT_S = 10.0
RELEASE_FLUSH_S = 2.0
HELD_BYTES_MAX = 64_000_000
POLL_RECORDS_MAX = 1_000


class Setup(msgspec.Struct, frozen=True):
    """What a consumer is told. It holds at most `held_max` tasks and fetches again at `held_low`."""

    queue: str
    group: str
    tasks_topic: str
    results_topic: str
    dead_letters_topic: str
    dead_letters_partitions: int
    held_max: int
    held_low: int


class QueueConsumer:
    """Feeds a worker from one task queue. `run` is the body of its thread; the other public methods suit any thread.

    `hand_over` gets each batch, `dropped` is called when waiting tasks became somebody else's."""

    def __init__(
        self,
        log: Log,
        setup: Setup,
        outbox: Outbox,
        logger: FilteringBoundLogger,
        *,
        hand_over: Callable[[str, list[Delivery]], None],
        dropped: Callable[[], None],
    ) -> None:
        self._log, self._setup, self._outbox = log, setup, outbox
        self._logger = logger
        self._hand_over, self._dropped = hand_over, dropped
        self._member: Member
        self._partitions: dict[TopicPartition, Partition] = {}
        self._to_begin: set[TopicPartition] = set()
        self._leftovers: dict[TopicPartition, dict[int, Delivery]] = {}
        self._handover = Handover(log, setup.group, setup.results_topic, lambda: self._member.name)
        self._settled: deque[Delivery] = deque()
        self._held = self._held_bytes = 0
        self._paused = False
        self._commit_due_s: float | None = None
        self._committed_s = 0.0
        self._draining = Event()
        self._finishing = Event()

    @property
    def queue(self) -> str:
        """Whose tasks these are."""
        return self._setup.queue

    # Told from other threads.

    def settled(self, delivery: Delivery) -> None:
        """The delivery's result is acknowledged."""
        self._settled.append(delivery)

    def drain(self) -> None:
        """Take no more tasks; stay in the group and go on committing."""
        self._draining.set()

    def finish(self) -> None:
        """Commit, leave the group and end the thread."""
        self._draining.set()
        self._finishing.set()

    # The thread.

    def run(self) -> None:
        """Consume until `finish`. Raises what cannot be waited out."""
        self._member = self._log.join(self._setup.group, [self._setup.tasks_topic], self)
        try:
            while not self._finishing.is_set():
                try:
                    self._round()
                except OffsetOutOfRange as error:
                    self._skip_expired(error)
                except LogError as error:
                    self._logger.warning("log not usable, trying again", error=str(error))
                    self._finishing.wait(RETRY_DELAY_S)
        finally:
            self._member.close()

    def granted(self, partitions: Sequence[TopicPartition]) -> None:
        """Begun in the next round: the group's offsets are better asked for outside of the log's callback."""
        self._to_begin.update(partitions)

    def released(self, partitions: Sequence[TopicPartition], *, lost: bool) -> None:
        """Start nothing more of these, commit what is done; what runs goes on, and its result still counts."""
        self._to_begin.difference_update(partitions)
        leaving = [self._partitions[at] for at in partitions if at in self._partitions]
        for partition in leaving:
            partition.release()
        if not lost:
            self._commit_last(leaving)
        for partition in leaving:
            self._handover.drop(partition)
        for partition in leaving:
            self._leave(partition)
        self._dropped()

    def _leave(self, partition: Partition) -> None:
        """Give the partition up, remembering what runs: Kafka takes all away at each rebalance, only to give most of
        it back, and what runs here meanwhile need not be run a second time."""
        del self._partitions[partition.topic_partition]
        for delivery in partition.open.values():
            self._held -= 1
            self._held_bytes -= delivery.size_bytes
        running = {offset: delivery for offset, delivery in partition.open.items() if delivery.started}
        self._leftovers.setdefault(partition.topic_partition, {}).update(running)

    def _round(self) -> None:
        if self._to_begin:
            self._begin_granted()
        self._settle()
        self._look_elsewhere()
        self._commit_when_due()
        records = self._member.poll(self._room(), self._patience_s())
        if records:
            self._take(records)

    def _begin_granted(self) -> None:
        """Start each partition at its watermark, knowing what is done above it."""
        partitions = sorted(self._to_begin)
        committed = self._member.committed(partitions, COMMITTED_TIMEOUT_S)
        ends = self._log.ends(partitions)
        begun = {at: self._begun(at, committed.get(at), *ends[at]) for at in partitions}
        self._member.start({at: partition.progress.next_offset for at, partition in begun.items()})
        self._partitions.update(begun)
        self._to_begin.difference_update(partitions)
        if self._paused:
            self._member.pause(partitions)
        self._forget_leftovers()

    def _forget_leftovers(self) -> None:
        """Of partitions that did not come back, only what still runs is worth remembering."""
        for at in list(self._leftovers):
            if at in self._partitions:
                first = self._partitions[at].progress.next_offset
                kept = {offset: delivery for offset, delivery in self._leftovers[at].items() if offset >= first}
            else:
                kept = {offset: delivery for offset, delivery in self._leftovers[at].items() if not delivery.done}
            self._leftovers[at] = kept
            if not kept:
                del self._leftovers[at]

    def _begun(self, at: TopicPartition, committed: CommittedOffset | None, first: int, end: int) -> Partition:
        marks = from_text(committed.offset, committed.metadata) if committed is not None else []
        elsewhere = {offset: mark for mark in marks for offset in mark.offsets}
        return Partition(at, self._progress(at, committed, first, end), elsewhere)

    def _progress(self, at: TopicPartition, committed: CommittedOffset | None, first: int, end: int) -> Progress:
        if committed is None or committed.offset > end:
            if committed is not None:
                self._logger.warning("committed offset is beyond the log's end; starting over", partition=at, end=end)
            return Progress(first)
        progress = Progress(committed.offset, committed.metadata)
        if first > committed.offset:
            self._logger.warning("tasks expired before they were run", partition=at, to_offset=first)
            progress.skip_to(first)
        return progress

    def _skip_expired(self, error: OffsetOutOfRange) -> None:
        """What a partition has not delivered was deleted meanwhile: go on with what is left."""
        self._logger.warning("tasks expired before they were run", error=str(error))
        ends = self._log.ends(list(self._partitions))
        for at, partition in self._partitions.items():
            partition.progress.skip_to(ends[at][0])
            partition.dirty = True
        self._member.start({at: partition.progress.next_offset for at, partition in self._partitions.items()})
        if self._paused:
            self._member.pause(list(self._partitions))

    # What is held, and how much more may come.

    def _room(self) -> int:
        """How many records to ask for. Full is first waited out, since a pause throws fetched records away."""
        full = self._full()
        if full and not self._paused and not self._draining.is_set():
            self._wait_for_room()
            full = self._full()
        if self._draining.is_set():
            self._pause()
            return 1
        if full:
            self._pause()
            return 1
        if self._paused and self._held <= self._setup.held_low and self._held_bytes <= HELD_BYTES_MAX // 2:
            self._member.resume(list(self._partitions))
            self._paused = False
        return max(1, min(POLL_RECORDS_MAX, self._setup.held_max - self._held))

    def _full(self) -> bool:
        return self._held >= self._setup.held_max or self._held_bytes >= HELD_BYTES_MAX

    def _pause(self) -> None:
        if not self._paused:
            self._member.pause(list(self._partitions))
            self._paused = True

    def _wait_for_room(self) -> None:
        """Wait a little until there is room for a good batch."""
        deadline_s = time.monotonic() + FULL_WAIT_S
        while time.monotonic() < deadline_s and not self._draining.is_set():
            time.sleep(0.001)
            self._settle()
            self._commit_when_due()
            if self._held <= self._setup.held_low and self._held_bytes <= HELD_BYTES_MAX // 2:
                return

    def _patience_s(self) -> float:
        """How long to wait for records: not long while results may be acknowledged, for they want to be committed."""
        return POLL_BUSY_S if self._held or self._commit_due_s is not None or self._draining.is_set() else POLL_IDLE_S

    # Tasks.

    def _take(self, records: Sequence[StoredRecord]) -> None:
        deliveries = [delivery for record in records if (delivery := self._taken(record)) is not None]
        if deliveries:
            self._hand_over(self._setup.queue, deliveries)

    def _taken(self, record: StoredRecord) -> Delivery | None:
        """What is to be started for the record; None for what is done, runs (here or elsewhere) or is no task."""
        partition = self._partitions.get((record.topic, record.partition))
        if partition is None:
            return None
        leftovers = self._leftovers.get(partition.topic_partition)
        leftover = leftovers.pop(record.offset, None) if leftovers else None
        if not partition.progress.delivered(record.offset):
            self._soil(partition)
            return None
        if leftover is not None:
            partition.elsewhere.pop(record.offset, None)
            self._adopt(leftover, partition)
            return None
        try:
            task = _decode(record)
        except Undecodable as error:
            self._bury(record, partition, error)
            return None
        delivery = self._hold(partition, record, task)
        mark = partition.elsewhere.get(record.offset)
        if mark is None:
            return delivery
        self._handover.add(delivery, mark)
        return None

    def _hold(self, partition: Partition, record: StoredRecord, task: ActivityTask) -> Delivery:
        size_bytes = len(record.value or b"")
        delivery = Delivery(self, partition, record.offset, size_bytes, task)
        partition.open[record.offset] = delivery
        self._held += 1
        self._held_bytes += size_bytes
        return delivery

    def _look_elsewhere(self) -> None:
        """Note what earlier owners finished; run what they cannot finish any more."""
        try:
            done, ours = self._handover.look()
        except LogError as error:  # no reason to stop working meanwhile
            self._logger.warning("cannot look for what an earlier worker runs, trying again", error=str(error))
            return
        for delivery in (*done, *ours):
            delivery.partition.elsewhere.pop(delivery.offset, None)
        for delivery in done:
            self._finish(delivery)
        if ours:
            self._logger.info("running what a worker that is gone had begun", tasks=len(ours))
            self._hand_over(self._setup.queue, ours)

    def _adopt(self, delivery: Delivery, partition: Partition) -> None:
        """The task was started here before its partition went and came back: it is running, or done, already."""
        delivery.partition = partition
        partition.open[delivery.offset] = delivery
        self._held += 1
        self._held_bytes += delivery.size_bytes
        if delivery.done:
            self._finish(delivery)

    def _bury(self, record: StoredRecord, partition: Partition, error: Undecodable) -> None:
        """Keep what nobody can read as a dead letter; once it lies there, the record is done."""
        self._logger.warning("undecodable task", error=str(error))
        letter = dead_letter(
            record,
            "undecodable",
            str(error),
            int(time.time() * 1_000),
            topic=self._setup.dead_letters_topic,
            partitions=self._setup.dead_letters_partitions,
        )
        delivery = self._hold(partition, record, _NOBODY)
        delivery.started = True
        self._outbox.send(letter, lambda: self.settled(delivery))

    def _settle(self) -> None:
        """Note what was acknowledged since."""
        while self._settled:
            delivery = self._settled.popleft()
            delivery.done = True
            partition = delivery.partition
            if self._partitions.get(partition.topic_partition) is partition:
                self._finish(delivery)

    def _finish(self, delivery: Delivery) -> None:
        partition = delivery.partition
        del partition.open[delivery.offset]
        partition.progress.finished(delivery.offset)
        self._held -= 1
        self._held_bytes -= delivery.size_bytes
        self._soil(partition)

    # Commits.

    def _soil(self, partition: Partition) -> None:
        partition.dirty = True
        if self._commit_due_s is None:
            self._commit_due_s = self._committed_s + COMMIT_EVERY_S

    def _commit_when_due(self) -> None:
        if self._commit_due_s is None or time.monotonic() < self._commit_due_s:
            return
        self._commit([partition for partition in self._partitions.values() if partition.dirty])
        self._commit_due_s, self._committed_s = None, time.monotonic()

    def _commit(self, partitions: Sequence[Partition]) -> None:
        if self._committed({partition.topic_partition: _to_commit(partition) for partition in partitions}):
            for partition in partitions:
                partition.dirty = False

    def _committed(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> bool:
        """Commit these; False when the group went on without this member: the next poll says which are gone."""
        try:
            if offsets:
                self._member.commit(offsets)
        except Fenced as error:
            self._logger.warning("commit refused", error=str(error))
            return False
        return True

    def _commit_last(self, leaving: Sequence[Partition]) -> None:
        """Commit what is done of these, results under way included if they are acknowledged soon, and mark what runs
        on here."""
        results: Mapping[int, int] = {}
        try:
            results = self._results_ends(leaving)  # before the results that are acknowledged from now on
            self._outbox.flush(RELEASE_FLUSH_S)
        except LogError as error:
            self._logger.warning("results not acknowledged in time; their tasks will run again", error=str(error))
        self._settle()
        offsets = {
            partition.topic_partition: _to_commit(partition, mark)
            for partition in leaving
            if (mark := self._own_mark(partition, results)) is not None or partition.dirty
        }
        try:
            self._committed(offsets)
        except LogError as error:
            self._logger.warning("last commit failed; tasks done lately will run again", error=str(error))

    def _running(self, partition: Partition) -> list[Delivery]:
        """What goes on here without the partition, unless this worker is about to leave."""
        if self._finishing.is_set():
            return []
        return [delivery for delivery in partition.open.values() if delivery.started and delivery.task is not _NOBODY]

    def _own_mark(self, partition: Partition, results: Mapping[int, int]) -> Mark | None:
        """What this worker takes along of the partition, with where its results will lie."""
        running = self._running(partition)
        shards = sorted({delivery.task.shard for delivery in running})
        if not running or not results:
            return None
        starts = {shard: results[shard] for shard in shards}
        return Mark(self._member.name, starts, tuple(delivery.offset for delivery in running))

    def _results_ends(self, leaving: Sequence[Partition]) -> Mapping[int, int]:
        """Where the results of what runs will lie at the earliest, by shard."""
        shards = {delivery.task.shard for partition in leaving for delivery in self._running(partition)}
        found = self._log.ends([(self._setup.results_topic, shard) for shard in sorted(shards)]) if shards else {}
        return {shard: end for (_, shard), (_, end) in found.items()}


_NOBODY = ActivityTask(workflow_id="", run_id="", sequence=0, attempt=0, activity="", input=b"", queue="", shard=0)


def _decode(record: StoredRecord) -> ActivityTask:
    """The task in this record. Raises Undecodable, naming where it lies."""
    try:
        task = decode(record.value or b"")
        if not isinstance(task, ActivityTask):
            raise Undecodable(f"A {type(task).__name__} is no task.")
    except Undecodable as error:
        raise Undecodable(error.detail, topic=record.topic, partition=record.partition, offset=record.offset) from error
    return task


def _to_commit(partition: Partition, own: Mark | None = None) -> CommittedOffset:
    """The partition's offset, with what is done above it, what still runs elsewhere, and what goes on running here."""
    by_mark: dict[int, tuple[Mark, list[int]]] = {}
    for offset, mark in partition.elsewhere.items():
        by_mark.setdefault(id(mark), (mark, []))[1].append(offset)
    marks = [msgspec.structs.replace(mark, offsets=tuple(offsets)) for mark, offsets in by_mark.values()]
    progress = partition.progress
    text = to_text(progress.watermark, [*marks, own] if own is not None else marks)
    return CommittedOffset(progress.watermark, progress.metadata(METADATA_BYTES_MAX - len(text)) + text)
