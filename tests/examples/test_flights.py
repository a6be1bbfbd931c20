"""Totals of the flights of day 1 on both logs, also if processes are killed during the run."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from examples.flights import expected

ROOT = Path(__file__).parents[2]
DAY_1 = 842
RUN_TIMEOUT_S = 150
STOP_TIMEOUT_S = 45
SEED = 20130101
# A killed member's partitions move once its session ends; 6 s is the shortest that brokers allow.
SHORT_SESSION = "session.timeout.ms=6000"

pytestmark = pytest.mark.timeout(RUN_TIMEOUT_S + STOP_TIMEOUT_S + 5)


def run(folder: Path, *flags: str) -> str:
    """Run `python -m examples.flights --days 1` and return its output; it must succeed within its time."""
    command = [sys.executable, "-m", "examples.flights", "--days", "1", "--folder", str(folder), *flags]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = process.communicate(timeout=RUN_TIMEOUT_S)
    finally:
        if process.poll() is None:  # SIGTERM, not SIGKILL, so that it stops its own processes
            process.terminate()
            process.wait(STOP_TIMEOUT_S)
    logs = "".join(f"\n--- {file.name}\n{file.read_text()[-3000:]}" for file in sorted(folder.glob("*.log")))
    assert process.returncode == 0, f"exit code {process.returncode}\n{output}{logs}"
    return output


def assert_equal_totals(folder: Path, output: str) -> None:
    """Assert that the program's totals file holds what pandas computes, independently of its own verdict."""
    (file,) = folder.glob("totals-*.sqlite3")
    connection = sqlite3.connect(file)
    connection.row_factory = sqlite3.Row
    wanted = expected.totals(1)
    found = {row["carrier"]: dict(row) for row in connection.execute("SELECT * FROM totals")}
    connection.close()
    assert {carrier: {**row, "airline": ""} for carrier, row in found.items()} == {
        carrier: {**row, "carrier": carrier, "airline": ""} for carrier, row in wanted.items()
    }
    assert sum(row["flights"] for row in found.values()) == DAY_1
    assert "EQUAL" in output
    assert f"{DAY_1} flights in " in output


def killed(output: str) -> list[str]:
    """Return the kinds of the killed processes, in alphabetical order."""
    return sorted(re.findall(r"^killed (processor|worker)-\d+ with ", output, re.MULTILINE))


def fresh_namespace() -> str:
    return f"flights-{uuid.uuid4().hex[:8]}"


def test_embedded(tmp_path: Path) -> None:
    """On the embedded log, with a processor and two workers as processes, the totals are what pandas computes."""
    assert_equal_totals(tmp_path, run(tmp_path))


def test_embedded_killed(tmp_path: Path) -> None:
    """Killing the processor and a worker twice each changes no total on the embedded log."""
    output = run(tmp_path, "--kill", "--seed", str(SEED))
    assert killed(output) == ["processor", "processor", "worker", "worker"]
    assert_equal_totals(tmp_path, output)


def test_in_process(tmp_path: Path) -> None:
    """In one process, on a log in memory, the totals are what pandas computes."""
    assert_equal_totals(tmp_path, run(tmp_path, "--in-process", "--log", "embedded::memory:"))


def test_kafka(tmp_path: Path, kafka_bootstrap: str) -> None:
    """On Kafka the totals are what pandas computes."""
    output = run(tmp_path, "--log", f"kafka://{kafka_bootstrap}", "--namespace", fresh_namespace())
    assert_equal_totals(tmp_path, output)


def test_kafka_killed(tmp_path: Path, kafka_bootstrap: str) -> None:
    """Killing the processor and a worker twice each changes no total on Kafka."""
    log = f"kafka://{kafka_bootstrap}?{SHORT_SESSION}"
    output = run(tmp_path, "--log", log, "--namespace", fresh_namespace(), "--kill", "--seed", str(SEED))
    assert killed(output) == ["processor", "processor", "worker", "worker"]
    assert_equal_totals(tmp_path, output)


def test_no_log(tmp_path: Path) -> None:
    """Without a broker it ends with exit code 1 and one sentence on what to do, and starts no process."""
    with pytest.raises(AssertionError, match="exit code 1\n(.|\n)*no Kafka broker answers at 127.0.0.1:1;"):
        run(tmp_path, "--log", "kafka://127.0.0.1:1")
    assert not list(tmp_path.glob("*.log"))
