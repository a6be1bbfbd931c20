"""When do results leave a worker? At once while it is idle, together while it is busy, and all when asked."""

from __future__ import annotations

import asyncio

import structlog

from penstock.topics.log import Record
from penstock.workers.execution.outbox import BATCH_RECORDS_MAX, LINGER_S, Outbox


class Publisher:
    def __init__(self):
        self.sent: list[Record] = []
        self.flushed = 0

    def send(self, record, on_done):
        self.sent.append(record)
        on_done(None)

    def flush(self, timeout_s):
        self.flushed = len(self.sent)


def record(number):
    return Record("results", 0, b"id", str(number).encode())


def run(scene):
    async def play():
        publisher, told = Publisher(), []
        outbox = Outbox(publisher, asyncio.get_running_loop(), structlog.get_logger())
        await scene(publisher, outbox, told)

    asyncio.run(play())


def soon(outbox, told, number):
    outbox.send_batched(record(number), lambda: told.append(number), lambda: told.append("too large"))


def test_what_may_wait_leaves_together():
    """Records sent soon stay until the time is up, then leave in their order and are acknowledged once each."""

    async def scene(publisher, outbox, told):
        for number in range(3):
            soon(outbox, told, number)
        assert publisher.sent == []
        deadline = asyncio.get_running_loop().time() + 10
        while len(told) < 3 and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(LINGER_S)
        assert [sent.value for sent in publisher.sent] == [b"0", b"1", b"2"]
        assert told == [0, 1, 2]

    run(scene)


def test_a_full_outbox_does_not_wait():
    """As many records as may travel together leave without waiting for the clock."""

    async def scene(publisher, outbox, told):
        for number in range(BATCH_RECORDS_MAX):
            soon(outbox, told, number)
        assert len(publisher.sent) == BATCH_RECORDS_MAX

    run(scene)


def test_a_flush_sends_what_waits():
    """A flush covers records that were waiting for company."""

    async def scene(publisher, outbox, told):
        soon(outbox, told, 1)
        outbox.flush(1.0)
        assert publisher.flushed == 1
        assert told == [1]

    run(scene)


def test_what_cannot_wait_overtakes():
    """A plain send leaves at once, whatever waits."""

    async def scene(publisher, outbox, told):
        soon(outbox, told, 1)
        outbox.send(record(2), lambda: told.append(2))
        assert [sent.value for sent in publisher.sent] == [b"2"]
        outbox.send_batch()
        assert [sent.value for sent in publisher.sent] == [b"2", b"1"]

    run(scene)
