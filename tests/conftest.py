"""What do all tests share? One Kafka broker a run, started at its first use."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.kafka_broker import Broker, BrokerError


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """The address of a real Kafka: that of PENSTOCK_TEST_KAFKA, or of a broker of our own."""
    given = os.environ.get("PENSTOCK_TEST_KAFKA")
    if given:
        yield given
        return
    broker = Broker()
    try:
        broker.start()
    except BrokerError as error:
        broker.close()
        # Not a skip: a run without Kafka has not shown that Penstock works.
        pytest.fail(str(error), pytrace=False)
    yield broker.bootstrap
    broker.close()
