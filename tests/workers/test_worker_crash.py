"""What does a killed worker leave behind? (on the embedded log; test_worker_kafka.py tells it on Kafka)"""

from __future__ import annotations

from pathlib import Path

from tests.workers.half_done import tell


def test_the_finished_half_is_not_run_again(tmp_path: Path) -> None:
    """A worker killed with 100 tasks of one partition half done: the finished half is not run again."""
    tell(f"embedded:{tmp_path / 'log.sqlite3'}", tmp_path, seed=20261121)
