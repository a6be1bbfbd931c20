"""Does a worker keep its promises on a real Kafka? (workers/*.py with topics/kafka)"""

from __future__ import annotations

from pathlib import Path

from tests.workers.half_done import tell


def test_the_finished_half_is_not_run_again_on_kafka(kafka_bootstrap: str, tmp_path: Path) -> None:
    """A worker killed with 100 tasks of one partition half done: the finished half is not run again."""
    tell(f"kafka://{kafka_bootstrap}", tmp_path, seed=20261122)
