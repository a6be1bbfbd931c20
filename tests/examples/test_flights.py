"""Do the flights of day 1 add up, on both logs, also when processes are killed on the way?"""

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
# A killed member's partitions wait for its session to end: 6 s is the least that brokers allow.
BRISK = "session.timeout.ms=6000"

pytestmark = pytest.mark.timeout(RUN_TIMEOUT_S + STOP_TIMEOUT_S + 5)


def run(folder: Path, *flags: str) -> str:
    """What `python -m examples.flights --days 1` says; it must end well and in time."""
    command = [sys.executable, "-m", "examples.flights", "--days", "1", "--folder", str(folder), *flags]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, _ = process.communicate(timeout=RUN_TIMEOUT_S)
    finally:
        if process.poll() is None:  # asked, not killed: its own processes have to end with it
            process.terminate()
            process.wait(STOP_TIMEOUT_S)
    words = "".join(f"\n--- {file.name}\n{file.read_text()[-3000:]}" for file in sorted(folder.glob("*.log")))
    assert process.returncode == 0, f"exit code {process.returncode}\n{said}{words}"
    return said


def assert_equal_totals(folder: Path, said: str) -> None:
    """The file that the program left holds what pandas computes, whatever the program itself says of it."""
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
    assert "EQUAL" in said
    assert f"{DAY_1} flights in " in said


def killed(said: str) -> list[str]:
    """Which kinds of process were killed, in alphabetical order."""
    return sorted(re.findall(r"^killed (processor|worker)-\d+ with ", said, re.MULTILINE))


def fresh_namespace() -> str:
    return f"flights-{uuid.uuid4().hex[:8]}"


def test_embedded(tmp_path: Path) -> None:
    """On the embedded log, with a processor and two workers as processes, the totals are what pandas computes."""
    assert_equal_totals(tmp_path, run(tmp_path))


def test_embedded_killed(tmp_path: Path) -> None:
    """Killing the processor and a worker twice each changes no total on the embedded log."""
    said = run(tmp_path, "--kill", "--seed", str(SEED))
    assert killed(said) == ["processor", "processor", "worker", "worker"]
    assert_equal_totals(tmp_path, said)


def test_in_process(tmp_path: Path) -> None:
    """In one process, on a log in memory, the totals are what pandas computes."""
    assert_equal_totals(tmp_path, run(tmp_path, "--in-process", "--log", "embedded::memory:"))


def test_kafka(tmp_path: Path, kafka_bootstrap: str) -> None:
    """On Kafka the totals are what pandas computes."""
    said = run(tmp_path, "--log", f"kafka://{kafka_bootstrap}", "--namespace", fresh_namespace())
    assert_equal_totals(tmp_path, said)


def test_kafka_killed(tmp_path: Path, kafka_bootstrap: str) -> None:
    """Killing the processor and a worker twice each changes no total on Kafka."""
    log = f"kafka://{kafka_bootstrap}?{BRISK}"
    said = run(tmp_path, "--log", log, "--namespace", fresh_namespace(), "--kill", "--seed", str(SEED))
    assert killed(said) == ["processor", "processor", "worker", "worker"]
    assert_equal_totals(tmp_path, said)


def test_no_log(tmp_path: Path) -> None:
    """Without a broker it ends with exit code 1 and one sentence that says what to do, and starts nothing."""
    with pytest.raises(AssertionError, match="exit code 1\n(.|\n)*no Kafka broker answers at 127.0.0.1:1;"):
        run(tmp_path, "--log", "kafka://127.0.0.1:1")
    assert not list(tmp_path.glob("*.log"))
