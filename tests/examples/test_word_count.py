"""The example of map and reduce, in processes of its own that are killed on the way, on both logs."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from examples.word_count import PARTS, count_words, text_of
from tests.integration.system import System, wait_until

ROOT = Path(__file__).parents[2]
WAIT_S = 120
MODULE = "examples.word_count"
PACE_S = 0.05  # of one part, of which a worker counts up to a hundred at once

pytestmark = pytest.mark.timeout(3 * WAIT_S)


def expected() -> dict[str, int]:
    """Sums of all parts, counted here."""
    return dict(Counter(word for part in range(PARTS) for word in text_of(part).split()))


def counted_under_kills(system: System) -> None:
    """Count a thousand parts; after some hundreds the worker is killed and started again, later the processor."""
    folder = system.data / "booked"
    folder.mkdir()

    def start(kind: str) -> subprocess.Popen[bytes]:
        return system.child("penstock", kind, MODULE)

    def booked() -> int:
        return len(list(folder.iterdir()))

    running = {kind: start(kind) for kind in ("processor", "worker")}
    system.publish_starts({"words": count_words(str(folder), PARTS, PACE_S)})
    for kind, parts in (("worker", 250), ("processor", 500), ("worker", 750)):
        wait_until(
            f"{parts} parts",
            lambda parts=parts: booked() >= parts,
            log=lambda kind=kind: system.child_log(running[kind]),
        )
        running[kind].kill()
        assert booked() < PARTS, "the run is to be in its middle when a process is killed"
        running[kind].wait(WAIT_S)
        running[kind] = start(kind)
    assert system.results(["words"], WAIT_S) == {"words": expected()}
    for child in running.values():
        assert system.end(child) == 0, system.child_log(child)
    assert sorted(int(entry.read_text()) for entry in folder.iterdir()) == list(range(PARTS))
    system.check(1)


def test_a_thousand_parts_on_the_embedded_log(tmp_path: Path) -> None:
    """The sums are exact, and each part is booked under one key, though worker and processor were killed."""
    system = System(f"embedded:{tmp_path}/log.sqlite3", 1, tmp_path)
    try:
        counted_under_kills(system)
    finally:
        system.close()


def test_a_thousand_parts_on_kafka(kafka_bootstrap: str, tmp_path: Path) -> None:
    """The same on Kafka."""
    system = System(f"kafka://{kafka_bootstrap}", 1, tmp_path)
    try:
        counted_under_kills(system)
    finally:
        system.close()


def test_the_program() -> None:
    """The example prints how many parts it booked, and its sums."""
    done = subprocess.run(
        [sys.executable, "examples/word_count.py", "10"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["10 parts: ebb 7, flood 7, gate 7, mill 6, weir 7"]
