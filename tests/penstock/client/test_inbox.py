"""Tests of the inbox: an error of the log ends neither its thread nor a later call."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from structlog.testing import capture_logs

from penstock.client import connection as connection_module
from penstock.client import inbox as inbox_module
from penstock.client.client import Client
from penstock.client.inbox import Inbox
from penstock.client.sync import SyncClient
from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import LogError, LogUnavailable, NotAnswered, OffsetOutOfRange, UnknownTopic
from penstock.schemas.records.replies import Accepted
from penstock.topics.log import Record
from penstock.topics.publishing import publish
from tests.penstock.client.helpers import SETTINGS, agreeable

ERRORS = [
    LogUnavailable("the log is away."),
    UnknownTopic("replies does not exist."),
    LogError("a broker that is mended."),
    OffsetOutOfRange("expired."),
    RuntimeError("a bug."),
]


class Faults:
    """Errors that the readers of a log, and the openings of readers, raise one after the other."""

    def __init__(self, log, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads: list[Exception] = []
        self.openings: list[Exception] = []
        self.lasting: Exception | None = None
        reader_of = log.reader

        def reader(positions):
            if any("replies" in topic for topic, _ in positions):
                if self.openings:
                    raise self.openings.pop(0)
                return self._failing(reader_of(positions))
            return reader_of(positions)

        monkeypatch.setattr(log, "reader", reader)
        monkeypatch.setattr(inbox_module, "RECONNECT_S", 0.01)

    def _failing(self, made):
        read = made.read

        def failing(records_max, timeout_s):
            if self.lasting is not None:
                raise self.lasting
            if self.reads:
                raise self.reads.pop(0)
            return read(records_max, 0.02)

        made.read = failing
        return made


@pytest.fixture
def faults(log, monkeypatch):
    """The faults of this test's log."""
    return Faults(log, monkeypatch)


def _passes(faults: Faults) -> bool:
    return not faults.reads and not faults.openings


def _await_pass(faults: Faults) -> None:
    deadline_s = time.monotonic() + 10
    while not _passes(faults):
        assert time.monotonic() < deadline_s, "the inbox does not go on"
        time.sleep(0.01)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_client_goes_on_after_an_error(log, processor, faults, error):
    """After any error of a read, and of the reader that follows, later calls of a client are answered."""

    async def use():
        async with Client(log=log, settings=SETTINGS) as client:
            await client.cancel("x")
            faults.reads, faults.openings = [error], [error]
            await asyncio.to_thread(_await_pass, faults)
            await asyncio.wait_for(client.cancel("x"), 10)

    with processor(agreeable):
        asyncio.run(use())


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_sync_client_goes_on_after_an_error(log, processor, faults, error):
    """As the client of asyncio does."""
    with processor(agreeable), SyncClient(log=log, settings=SETTINGS) as client:
        client.cancel("x")
        faults.reads, faults.openings = [error], [error]
        _await_pass(faults)
        client.cancel("x")


def test_no_reply_is_missed_while_none_can_be_read(log, processor, faults):
    """A reply that arrives while the log cannot be read is delivered when it can."""
    with processor(agreeable), SyncClient(log=log, settings=SETTINGS) as client:
        client.cancel("x")
        faults.lasting = LogUnavailable("the log is away.")
        time.sleep(0.1)  # a read that has begun may still succeed
        timer = threading.Timer(0.5, lambda: setattr(faults, "lasting", None))
        timer.start()
        client.cancel("x")
        timer.join()


@pytest.mark.parametrize("first", [0, 2])
def test_replies_that_expired_are_skipped(log, topics, faults, first):
    """Reading goes on at the first reply that is kept, if the next one has expired meanwhile."""
    received: list[str] = []
    inbox = Inbox(log, (topics.replies, 0), lambda replies: received.extend(reply.message_id for reply in replies))
    faults.lasting, closing = OffsetOutOfRange("expired"), threading.Event()
    thread = threading.Thread(target=inbox.run, args=[closing])
    thread.start()
    reply = Accepted(message_id="", workflow_id="x", run_id="r")
    for number in range(4):
        value = encode(type(reply)(message_id=f"m{number}", workflow_id="x", run_id="r"))
        publish(log, [Record(topics.replies, 0, b"", value)], 5.0)
    log.trim({(topics.replies, 0): first})
    faults.lasting = None
    deadline_s = time.monotonic() + 10
    while len(received) < 4 - first and time.monotonic() < deadline_s:
        time.sleep(0.01)
    closing.set()
    thread.join(10)
    assert received == [f"m{number}" for number in range(first, 4)]


def test_a_call_whose_reply_cannot_be_read_says_why(log, processor, faults, monkeypatch):
    """If replies cannot be read until the time is over, the error names the reason instead of blaming processors."""
    monkeypatch.setattr(connection_module, "ANSWER_TIMEOUT_S", 0.3)
    with processor(agreeable), SyncClient(log=log, settings=SETTINGS) as client, capture_logs() as logs:
        client.cancel("x")
        faults.lasting = LogUnavailable("no broker answers.")
        time.sleep(0.1)
        with pytest.raises(NotAnswered, match=r"no reply could be read within 0\.3 s \(no broker answers\)"):
            client.cancel("x")
    assert len([line for line in logs if line["event"].startswith("replies cannot be read")]) == 1
