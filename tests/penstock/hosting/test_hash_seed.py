"""Tests of the warning about PYTHONHASHSEED."""

import asyncio
import subprocess
import sys

import pytest
import structlog

from penstock.engine.authoring.workflow import workflow
from penstock.hosting.engine import Engine
from penstock.hosting.hash_seed import HASH_SEED_WARNING
from penstock.observe.logs import route_to_logging
from penstock.testing.engine import TestEngine


@workflow(name="hash-seed-trial")
async def trial() -> None: ...


def warnings_of(engine):
    """Open and close an engine; returns the warnings that it logged."""

    async def open_and_close():
        async with engine:
            pass

    route_to_logging()
    with structlog.testing.capture_logs() as lines:
        asyncio.run(open_and_close())
    return [line["event"] for line in lines if line["log_level"] == "warning"]


@pytest.mark.parametrize("seed", [None, "7", "random", ""])
def test_other_hash_seeds(tmp_path, monkeypatch, seed):
    """An Engine on a log on disk logs one warning while PYTHONHASHSEED is not 0."""
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    if seed is not None:
        monkeypatch.setenv("PYTHONHASHSEED", seed)
    assert warnings_of(Engine([trial], f"embedded:{tmp_path}/log")) == [HASH_SEED_WARNING]


def test_the_fixed_hash_seed(tmp_path, monkeypatch):
    """With PYTHONHASHSEED=0 there is no warning."""
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    assert warnings_of(Engine([trial], f"embedded:{tmp_path}/log")) == []


def test_a_python_that_ignores_its_environment():
    """Under `python -I` the variable has no effect, so the seed is not fixed."""
    code = "from penstock.hosting.hash_seed import hash_seed_is_fixed; print(hash_seed_is_fixed())"
    said = [
        subprocess.run(
            [sys.executable, *options, "-c", code],
            env={"PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.strip()
        for options in ([], ["-I"])
    ]
    assert said == ["True", "False"]


@pytest.mark.parametrize(
    "engine", [lambda: Engine([trial], "embedded::memory:"), lambda: TestEngine(trial)], ids=["Engine", "TestEngine"]
)
def test_logs_in_memory(monkeypatch, engine):
    """On a log in memory there is no warning, since no run survives a restart."""
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    assert warnings_of(engine()) == []


def test_the_text_of_the_warning():
    """The warning names the variable, the consequence and the remedy."""
    assert HASH_SEED_WARNING == (
        "PYTHONHASHSEED is not 0: workflow code that iterates over sets may order its requests differently "
        "after a restart; set PYTHONHASHSEED=0 for this program"
    )
