"""Fixtures and markers shared by all tests: one Kafka broker per test run, and the mark of slow tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.kafka_broker import Broker, BrokerError

ROOT = Path(__file__).resolve().parent.parent
GIVEN = "PENSTOCK_TEST_KAFKA"
FAILED = "PENSTOCK_TEST_KAFKA_FAILED"
# Folders and files whose tests are marked slow, with the reason; `make test-fast` excludes them.
SLOW = {
    "tests/bench": "measures",
    "tests/engine/runtime/test_simulation.py": "simulates hundreds of seeds",
    "tests/examples": "runs the programs",
    "tests/integration": "starts processes and kills them",
    "tests/penstock/cli/test_hosts.py": "starts processes",
    "tests/penstock/hosting/test_interrupts.py": "starts processes and interrupts them",
    "tests/test_docs.py": "runs the examples of the documents",
    "tests/test_packaging.py": "builds the wheel and the source archive",
    "tests/topics/test_partitioner_java.py": "compiles Java",
    "tests/workers/activity/test_typing.py": "runs mypy and pyright",
    "tests/workers/test_worker_crash.py": "starts processes and kills them",
}
_shared: list[Broker] = []


def pytest_configure(config: pytest.Config) -> None:
    """With several test processes (`-n`), start the broker before they begin, so that they share it."""
    side_by_side = bool(config.getoption("numprocesses", None))
    without_broker = "not broker" in str(config.getoption("markexpr", ""))
    if not side_by_side or without_broker or hasattr(config, "workerinput") or os.environ.get(GIVEN):
        return
    broker = Broker()
    _shared.append(broker)
    try:
        broker.start()
    except BrokerError as error:
        os.environ[FAILED] = str(error)
    else:
        os.environ[GIVEN] = broker.bootstrap


def pytest_unconfigure() -> None:
    """Stop what `pytest_configure` started."""
    while _shared:
        _shared.pop().close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a broker and what is slow, before `-m` selects by marks."""
    for item in items:
        if _needs_broker(item):
            item.add_marker(pytest.mark.broker)
        if any(item.path.is_relative_to(ROOT / place) for place in SLOW):
            item.add_marker(pytest.mark.slow)


def _needs_broker(item: pytest.Item) -> bool:
    """Whether a test uses the shared broker, the adapter "kafka", or a broker of its own."""
    given = getattr(getattr(item, "callspec", None), "params", {}).values()
    own = getattr(getattr(item, "module", None), "Broker", None) is Broker
    return own or "kafka" in given or "kafka_bootstrap" in getattr(item, "fixturenames", ())


@pytest.fixture(autouse=True)
def _logging_unconfigured() -> Iterator[None]:
    """Undo a test's configuration of structlog: the output of the next must not depend on the order of the tests."""
    configured = structlog.is_configured()
    yield
    if not configured:
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """Address of a real Kafka: PENSTOCK_TEST_KAFKA, or a broker that the tests start."""
    # Not a skip: a run without Kafka has not shown that Penstock works.
    if FAILED in os.environ:
        pytest.fail(os.environ[FAILED], pytrace=False)
    given = os.environ.get(GIVEN)
    if given:
        yield given
        return
    broker = Broker()
    try:
        broker.start()
    except BrokerError as error:
        broker.close()
        pytest.fail(str(error), pytrace=False)
    yield broker.bootstrap
    broker.close()
