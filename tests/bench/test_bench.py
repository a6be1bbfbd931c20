"""Tests of `python -m bench`: a quick case on the embedded log, and the figures of its row."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import workload
from bench.cpu import cpu_s
from bench.report import Row
from penstock.schemas.encoding.codec import decode
from penstock.topics.catalogue import Topics

ROOT = Path(__file__).resolve().parents[2]
RUN_S = 100
REQUIRED = {
    "log": str,
    "workload": str,
    "in_flight": int,
    "shards": int,
    "processes": int,
    "workflows_per_s": float,
    "activities_per_s": float,
    "p50_ms": float,
    "p99_ms": float,
    "raw_pipe_records_per_s": int,
    "raw_pipe_ratio": float,
    "cpu_s_processor": float,
    "cpu_s_worker": float,
    "cpu_s_client": float,
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Rows that a quick run on the embedded log writes."""
    out = tmp_path_factory.mktemp("bench") / "deeper" / "rows.json"
    chosen = ["--log", "embedded", "--mode", "closed", "--in-flight", "100"]
    command = [sys.executable, "-m", "bench", "--quick", *chosen, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_S)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "embedded" in done.stdout
    return json.loads(out.read_text())


def test_a_row_has_every_figure(rows):
    """Each row holds the figures that readers of bench/results/latest.json rely on, as numbers."""
    assert [(row["log"], row["workload"], row["in_flight"], row["shards"]) for row in rows] == [
        ("embedded", "sequential5", 100, 1)
    ]
    for name, kind in REQUIRED.items():
        assert isinstance(rows[0][name], kind), name
    assert set(rows[0]) == set(Row.__struct_fields__)


def test_the_figures_of_a_row_agree(rows):
    """Five activities a workflow, a ratio of the two rates, latencies in order, CPU time that was spent."""
    row = rows[0]
    assert row["activities_per_s"] == pytest.approx(5 * row["workflows_per_s"], rel=0.01)
    assert row["raw_pipe_ratio"] == pytest.approx(row["records_per_s"] / row["raw_pipe_records_per_s"], abs=0.01)
    assert 0 < row["p50_ms"] <= row["p99_ms"]
    assert row["workflows"] == pytest.approx(row["workflows_per_s"] * row["seconds"], rel=0.01)
    assert row["cpu_s_processor"] > 0
    assert row["cpu_s_broker"] is None


def test_a_case_that_is_not_there_is_said(tmp_path):
    """Options that match no case end with code 2 and a sentence."""
    command = [sys.executable, "-m", "bench", "--in-flight", "7", "--out", str(tmp_path / "rows.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_S)
    assert done.returncode == 2
    assert "no case" in done.stderr


def test_starts_are_encoded_for_their_shard():
    """A start carries its number, as id and as input, and lies on the partition of its id."""
    records = list(workload.starts("load", 41, 2, Topics(), 4))
    starts = [decode(record.value or b"") for record in records]
    assert [start.workflow_id for start in starts] == ["load-00000041", "load-00000042"]
    assert [workload.number_of(record.key or b"") for record in records] == [41, 42]
    assert [start.input for start in starts] == [b"41", b"42"]
    assert workload.result_of(41) == b"46"
    assert all(0 <= record.partition < 4 for record in records)


def test_cpu_time_of_a_process_is_read():
    """The CPU seconds of a process grow while it computes."""
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before = cpu_s(burner.pid)
        while cpu_s(burner.pid) < before + 0.1:
            assert burner.poll() is None
    finally:
        burner.kill()
        burner.wait()
