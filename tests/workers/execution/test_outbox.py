"""Sending of records, at once or in batches (workers/execution/outbox.py)."""

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
        publisher, acknowledged = Publisher(), []
        outbox = Outbox(publisher, asyncio.get_running_loop(), structlog.get_logger())
        await scene(publisher, outbox, acknowledged)

    asyncio.run(play())


def send_batched(outbox, acknowledged, number):
    outbox.send_batched(record(number), lambda: acknowledged.append(number), lambda: acknowledged.append("too large"))


def test_batched_records_are_sent_together():
    """Batched records are sent in order after the linger time, and are acknowledged once each."""

    async def scene(publisher, outbox, acknowledged):
        for number in range(3):
            send_batched(outbox, acknowledged, number)
        assert publisher.sent == []
        deadline = asyncio.get_running_loop().time() + 10
        while len(acknowledged) < 3 and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(LINGER_S)
        assert [sent.value for sent in publisher.sent] == [b"0", b"1", b"2"]
        assert acknowledged == [0, 1, 2]

    run(scene)


def test_a_full_batch_does_not_wait():
    """A full batch is sent without waiting for the linger time."""

    async def scene(publisher, outbox, acknowledged):
        for number in range(BATCH_RECORDS_MAX):
            send_batched(outbox, acknowledged, number)
        assert len(publisher.sent) == BATCH_RECORDS_MAX

    run(scene)


def test_a_flush_sends_the_batch():
    """A flush includes the records of the batch."""

    async def scene(publisher, outbox, acknowledged):
        send_batched(outbox, acknowledged, 1)
        outbox.flush(1.0)
        assert publisher.flushed == 1
        assert acknowledged == [1]

    run(scene)


def test_a_plain_send_overtakes_the_batch():
    """A plain send is made at once, before the batch."""

    async def scene(publisher, outbox, acknowledged):
        send_batched(outbox, acknowledged, 1)
        outbox.send(record(2), lambda: acknowledged.append(2))
        assert [sent.value for sent in publisher.sent] == [b"2"]
        outbox.send_batch()
        assert [sent.value for sent in publisher.sent] == [b"2", b"1"]

    run(scene)
