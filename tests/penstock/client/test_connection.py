"""Tests of Connection: missing processors, topics and logs."""

import asyncio

import pytest

from penstock.client import connection as connection_module
from penstock.client.client import Client
from penstock.schemas.errors import (
    NotAnswered,
    UnknownTopic,
)
from penstock.topics.embedded import MEMORY, EmbeddedLog
from tests.penstock.client.helpers import (
    parcel_of,
    with_client,
)
from tests.penstock.conftest import SHARDS


def test_no_processor(log, monkeypatch):
    """Without a processor a start raises a TimeoutError that says that the command is in the log and what must run."""
    monkeypatch.setattr(connection_module, "ANSWER_TIMEOUT_S", 0.3)
    with pytest.raises(NotAnswered, match=r"within 0.3 s.*is in the log.*namespace trial") as raised:
        with_client(log, lambda client: client.start(parcel_of("a", 1), id="x"))
    assert isinstance(raised.value, TimeoutError)
    topic = "penstock.trial.commands"
    ends = log.ends([(topic, shard) for shard in range(SHARDS)])
    assert sum(end for _, end in ends.values()) == 1


def test_a_namespace_without_topics():
    """Without topics, opening raises an error that says what creates them."""
    log = EmbeddedLog(MEMORY)
    with pytest.raises(UnknownTopic, match="penstock dev FILE"):
        with_client(log, lambda client: client.result("x"))
    log.close()


def test_a_missing_log(tmp_path):
    """A client does not create an embedded log."""

    async def use():
        async with Client(f"embedded:{tmp_path}/none"):
            raise AssertionError("it opened")

    with pytest.raises(UnknownTopic, match="penstock dev FILE"):
        asyncio.run(use())
    assert list(tmp_path.iterdir()) == []
