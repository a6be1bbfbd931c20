"""Tasks of a killed worker, on the embedded log; test_worker_kafka.py has the same tests on Kafka."""

from __future__ import annotations

from pathlib import Path

from tests.workers.crash import kill_with_claimed_tasks, kill_with_half_done


def test_the_finished_half_is_not_run_again(tmp_path: Path) -> None:
    """A worker killed with 100 tasks of one partition half done: the finished half is not run again."""
    kill_with_half_done(f"embedded:{tmp_path / 'log.sqlite3'}", tmp_path, seed=20261121)


def test_claimed_tasks_of_a_killed_worker_are_run(tmp_path: Path) -> None:
    """Tasks claimed by a worker when their partition moved are run by the new owner once that worker is killed."""
    kill_with_claimed_tasks(f"embedded:{tmp_path / 'log.sqlite3'}", tmp_path)
