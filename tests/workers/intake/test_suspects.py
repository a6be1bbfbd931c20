"""Suspects, one at a time (workers/intake/suspects.py)."""

from __future__ import annotations

import pytest

from penstock.workers.intake import suspects as module
from penstock.workers.intake.gate import Gate
from penstock.workers.intake.holding import ALONE, BESIDE, WAITING, Mark
from penstock.workers.intake.partition import HeldTask, Partition
from penstock.workers.intake.suspects import ALONE_S, Suspects
from tests.workers.intake.held import held_task, partition_of


class Stage:
    """Suspects whose commits succeed while `commits`, and whose tasks the test starts."""

    def __init__(self) -> None:
        self.gate, self.commits = Gate(), True
        self.partition = partition_of()
        self.partition.admit_by(self.partition._contact, self.gate, lambda _: None)
        self.committed: list[dict[int, Mark]] = []
        self.dispatched: list[HeldTask] = []
        self.suspects = Suspects(self.gate, self._commit, self.dispatched.append)

    def _commit(self, partition: Partition) -> bool:
        if self.commits:
            self.committed.append(dict(partition.marks))
        return self.commits

    def task(self, offset: int) -> HeldTask:
        return held_task(offset, self.partition)


def test_a_suspect_is_marked_before_it_begins() -> None:
    """A suspect does not begin before a commit has named it, and no other task begins until it is done."""
    stage = Stage()
    first, second, other = stage.task(0), stage.task(1), stage.task(2)
    stage.suspects.add(first, 0)
    stage.suspects.add(second, 1)
    stage.suspects.advance()
    assert stage.dispatched == [first]
    stage.commits = False
    assert not first.start()
    stage.suspects.advance()
    assert not first.start()
    stage.commits = True
    stage.suspects.advance()
    assert stage.committed == [{0: Mark(0, ALONE), 1: Mark(1, WAITING)}]
    assert first.start()
    assert not other.start()
    stage.suspects.finished(first)
    assert other.start()
    stage.suspects.advance()
    assert stage.dispatched == [first, first, second]


def test_a_suspect_that_runs_on_lets_others_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time alone a commit says that others may run beside it, and then they may."""
    now_s = [1_000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s[0])
    stage = Stage()
    suspect, other = stage.task(0), stage.task(1)
    stage.suspects.add(suspect, 1)
    stage.suspects.advance()
    suspect.start()
    stage.suspects.advance()
    assert suspect.start()
    stage.suspects.advance()
    now_s[0] += ALONE_S[1] - 0.1
    stage.suspects.advance()
    assert not other.start()
    now_s[0] += 0.2
    stage.suspects.advance()
    assert stage.committed[-1] == {0: Mark(1, BESIDE)}
    assert other.start()


def test_suspects_of_a_released_partition_open_the_gate() -> None:
    """When the partition of the running suspect is released, other tasks of the worker begin again."""
    stage = Stage()
    suspect, waiting, other = stage.task(0), stage.task(1), held_task(2)
    other.partition.admit_by(stage.partition._contact, stage.gate, lambda _: None)
    stage.suspects.add(suspect, 0)
    stage.suspects.add(waiting, 0)
    stage.suspects.advance()
    suspect.start()
    assert not other.start()
    stage.suspects.drop(stage.partition)
    assert not stage.suspects
    assert other.start()
