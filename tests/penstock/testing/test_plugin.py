"""Tests of the pytest plugin, in projects of their own."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT_S = 60

ORDERS = """
from penstock import activity, sleep, workflow

@activity
def charge(amount: int) -> str:
    raise ConnectionError("no test charges a card")

@activity
def note(text: str) -> None: ...

@workflow
async def fulfil(amount: int) -> str:
    await sleep("30d")
    await note("due")
    return await charge(amount)
"""


def run_tests(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run a file of tests beside the module `orders`, with the plugin from this tree."""
    (folder / "orders.py").write_text(ORDERS)
    (folder / "test_orders.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return subprocess.run(
        [*command, "-p", "no:penstock", "-p", "penstock.testing.plugin", "--rootdir", str(folder), "."],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{ROOT}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_a_coroutine_test_gets_an_open_engine(tmp_path: Path) -> None:
    """The fixture hosts what the test's module imports, with the activities beside it; other fixtures come along."""
    done = run_tests(
        tmp_path,
        """
import pytest
from orders import fulfil, charge

@pytest.fixture
def amount():
    return 5

@pytest.mark.parametrize("id", ["o-1", "o-2"])
async def test_an_order(penstock_engine, amount, id):
    penstock_engine.mock(charge, "paid")
    assert await penstock_engine.client.execute(fulfil(amount), id=id) == "paid"
    penstock_engine.assert_called(charge, 5, times=1)

class TestOrders:
    async def test_another(self, penstock_engine):
        penstock_engine.mock(charge, "paid")
        assert await penstock_engine.client.execute(fulfil(1), id="o-3") == "paid"
""",
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_a_failure_shows_the_histories(tmp_path: Path) -> None:
    """The report of a failed test has the events of its runs."""
    done = run_tests(
        tmp_path,
        """
from orders import fulfil, charge

async def test_an_order(penstock_engine):
    penstock_engine.mock(charge, "paid")
    assert await penstock_engine.client.execute(fulfil(5), id="o-1") == "refused"
""",
    )
    assert done.returncode == 1
    assert "Histories of the runs:" in done.stdout
    assert "o-1 (fulfil)" in done.stdout
    assert "ActivityScheduled  #3 activity=charge input=5" in done.stdout


@pytest.mark.parametrize("how", ["@pytest.mark.penstock(fulfil, auto_skip=False)", ""])
def test_the_marker_says_what_is_hosted(tmp_path: Path, how: str) -> None:
    """The marker names what is hosted, and the engine's options; without it, time moves by itself."""
    done = run_tests(
        tmp_path,
        f"""
import pytest
from orders import fulfil, charge
from penstock.schemas.errors import StillRunning

{how}
async def test_an_order(penstock_engine):
    penstock_engine.mock(charge, "paid") if {not how} else None
    run = await penstock_engine.client.start(fulfil(5), id="o-1")
    with pytest.raises(StillRunning):
        await run.result(timeout=0.3)
""",
    )
    assert ("1 passed" if how else "DID NOT RAISE") in done.stdout, done.stdout


def test_a_plain_test_opens_the_engine(tmp_path: Path) -> None:
    """A test that is no coroutine function opens the engine itself; one without the fixture is left alone."""
    done = run_tests(
        tmp_path,
        """
import asyncio
from orders import fulfil, charge

def test_an_order(penstock_engine):
    async def use():
        async with penstock_engine as engine:
            engine.mock(charge, "paid")
            return await engine.client.execute(fulfil(5), id="o-1")
    assert asyncio.run(use()) == "paid"

def test_nothing():
    pass
""",
    )
    assert "2 passed" in done.stdout, done.stdout


def test_pytest_finds_the_plugin() -> None:
    """The plugin is an entry point of the package, and loads nothing heavy by itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"penstock": "penstock.testing.plugin"}
    code = "import penstock.testing.plugin, sys; print('penstock.engine' in sys.modules, 'msgspec' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    assert done.stdout.split() == ["False", "False"]
