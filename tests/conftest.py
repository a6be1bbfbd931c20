"""What do all tests share? One Kafka broker a run, whether tests run one by one or side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.kafka_broker import Broker, BrokerError

GIVEN = "PENSTOCK_TEST_KAFKA"
FAILED = "PENSTOCK_TEST_KAFKA_FAILED"
_shared: list[Broker] = []


def pytest_configure(config: pytest.Config) -> None:
    """With several test processes (`-n`), start the broker before they begin, so that they share it."""
    side_by_side = bool(config.getoption("numprocesses", None))
    if not side_by_side or hasattr(config, "workerinput") or os.environ.get(GIVEN):
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


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """The address of a real Kafka: that of PENSTOCK_TEST_KAFKA, or of a broker of our own."""
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
