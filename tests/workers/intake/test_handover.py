"""Who runs a task whose worker took it along? (workers/handover.py, workers/marks.py)"""

from __future__ import annotations

import random

import pytest

from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import LogUnavailable
from penstock.schemas.records.tasks import ActivityTask
from penstock.topics.embedded import MEMORY, EmbeddedLog
from penstock.topics.log import Record, TopicSpec
from penstock.workers.intake import handover as handover_module
from penstock.workers.intake.claims import MARKS_CHARACTERS_MAX, Mark, from_text, to_text
from penstock.workers.intake.delivery import Delivery, Partition
from penstock.workers.intake.handover import Handover
from penstock.workers.intake.progress import METADATA_BYTES_MAX, Progress, to_metadata

RESULTS = "results"


class Group(EmbeddedLog):
    """A log in memory whose groups have the members that it is told."""

    def __init__(self) -> None:
        super().__init__(MEMORY)
        self.present = {"other", "me"}
        self.away = False
        self.create([TopicSpec(RESULTS, 2, {})])

    def members(self, group: str) -> frozenset[str]:
        if self.away:
            raise LogUnavailable("nobody answers")
        return frozenset(self.present)

    def publish(self, task: ActivityTask) -> None:
        """The task's result."""
        publisher = self.publisher()
        publisher.send(Record(RESULTS, task.shard, b"key", encode(task.completed(b"1", worker="other"))))
        publisher.flush(5)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover_module, "LOOK_EVERY_S", 0.0)


def delivery(sequence: int) -> Delivery:
    task = ActivityTask(
        workflow_id="w", run_id="r", sequence=sequence, attempt=1, activity="a", input=b"", queue="q", shard=1
    )
    return Delivery(None, Partition(("tasks", 0), Progress(0)), sequence, 0, task)  # type: ignore[arg-type]


def waiting(log: Group, *deliveries: Delivery, holder: str = "other", since: int = 0) -> Handover:
    made = Handover(log, "group", RESULTS, lambda: "me")
    for one in deliveries:
        made.add(one, Mark(holder, {1: since}, (one.offset,)))
    return made


def test_a_result_ends_the_waiting() -> None:
    """A task is done when its result lies on its shard of the results; others wait on."""
    log, (first, second) = Group(), (delivery(1), delivery(2))
    handover = waiting(log, first, second)
    assert handover.look() == ([], [])
    log.publish(second.task)
    assert handover.look() == ([second], [])
    log.publish(first.task)
    assert handover.look() == ([first], [])


def test_a_worker_that_is_gone_is_waited_for_no_longer() -> None:
    """Without a result, and with its worker missing twice, a task is to be run here; a result still counts first."""
    log, (first, second) = Group(), (delivery(1), delivery(2))
    handover = waiting(log, first, second)
    log.present = {"me"}
    assert handover.look() == ([], [])
    log.publish(first.task)
    assert handover.look() == ([first], [second])


def test_a_worker_that_was_overlooked_once_is_waited_for() -> None:
    """One look at the group that misses a worker decides nothing."""
    log, one = Group(), delivery(1)
    handover = waiting(log, one)
    for present in ({"me"}, {"me", "other"}, {"me"}):
        log.present = present
        assert handover.look() == ([], [])


def test_a_task_of_our_own_that_is_not_known_any_more_is_run() -> None:
    """A mark of our own name whose task does not run here is looked up in the results, and then run."""
    log, (first, second) = Group(), (delivery(1), delivery(2))
    log.publish(first.task)
    assert waiting(log, first, second, holder="me").look() == ([first], [second])


def test_a_look_that_fails_loses_nothing() -> None:
    """What a look found before the log went away is told by the next one."""
    log, one = Group(), delivery(1)
    handover = waiting(log, one, delivery(2))
    log.publish(one.task)
    log.away = True
    with pytest.raises(LogUnavailable):
        handover.look()
    log.away = False
    assert handover.look() == ([one], [])


def test_what_was_dropped_is_not_told() -> None:
    """Tasks of a partition that moved on are its new owner's to wait for."""
    log, one = Group(), delivery(1)
    handover = waiting(log, one)
    handover.drop(one.partition)
    log.publish(one.task)
    assert handover.look() == ([], [])


def test_results_that_were_trimmed_do_not_stop_a_look() -> None:
    """Where the results begin later than the mark says, what is left is looked at."""
    log, (first, second) = Group(), (delivery(1), delivery(2))
    log.publish(first.task)
    log.trim({(RESULTS, 1): 1})
    handover = waiting(log, second)
    assert handover.look() == ([], [])
    log.publish(second.task)
    assert handover.look() == ([second], [])


def test_marks_survive_a_commit() -> None:
    """Marks are read back as they were written, whatever is done beside them, within half of the metadata."""
    chance = random.Random(20261125)
    for _ in range(300):
        watermark = chance.randrange(1_000_000)
        marks = [
            Mark(
                f"rdkafka-{number}",
                {chance.randrange(64): chance.randrange(10**9) for _ in range(chance.randrange(1, 3))},
                tuple(sorted(chance.sample(range(watermark, watermark + 400), chance.randrange(1, 60)))),
            )
            for number in range(chance.randrange(4))
        ]
        text = to_text(watermark, marks)
        assert len(text) <= MARKS_CHARACTERS_MAX
        assert from_text(watermark, f"{to_metadata(watermark, [(watermark + 1, watermark + 2)])}{text}") == marks


def test_marks_that_do_not_fit_are_left_out() -> None:
    """Of more marks than a commit can hold some are told, and nothing is unreadable."""
    marks = [Mark(f"worker-{number}", {0: number}, tuple(range(number, 40_000, 97))) for number in range(9)]
    text = to_text(0, marks)
    assert 0 < len(text) <= MARKS_CHARACTERS_MAX
    told = from_text(0, text)
    assert told
    for read, written in zip(told, marks, strict=False):
        assert set(read.offsets) <= set(written.offsets)


@pytest.mark.parametrize("text", ["", " ", " x", " x,1:2", " x,1,r", " x,a:b,r", " ,,", "rzz x,1:2,~~~"])
def test_unreadable_marks_count_as_none(text: str) -> None:
    """What nobody of ours wrote marks nothing."""
    assert [mark.offsets for mark in from_text(0, text) if mark.offsets] == []


def test_what_is_done_is_read_beside_marks() -> None:
    """Marks in a commit's metadata leave what is done as it was."""
    progress = Progress(0)
    for offset in range(6):
        progress.delivered(offset)
    for offset in (1, 3, 4):
        progress.finished(offset)
    text = to_text(progress.watermark, [Mark("other", {0: 1}, (2,))])
    read = Progress(0, progress.metadata(METADATA_BYTES_MAX - len(text)) + text)
    assert [offset for offset in range(6) if read.delivered(offset)] == [0, 2, 5]
