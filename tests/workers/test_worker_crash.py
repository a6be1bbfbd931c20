"""What does a killed worker leave behind? (on the embedded log; test_worker_kafka.py tells it on Kafka)"""

from __future__ import annotations

from pathlib import Path

from tests.workers.crash import tell, tell_of_what_was_taken_along


def test_the_finished_half_is_not_run_again(tmp_path: Path) -> None:
    """A worker killed with 100 tasks of one partition half done: the finished half is not run again."""
    tell(f"embedded:{tmp_path / 'log.sqlite3'}", tmp_path, seed=20261121)


def test_what_a_killed_worker_had_taken_along_is_run(tmp_path: Path) -> None:
    """Tasks that went on at their worker when their partition moved are run by the new owner once that is killed."""
    tell_of_what_was_taken_along(f"embedded:{tmp_path / 'log.sqlite3'}", tmp_path)
