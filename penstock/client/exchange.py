"""How does a question reach a processor, and its answer come back? Both lie on the log.

Two threads do the blocking work, so that the event loop never does: the *outbox* publishes commands in batches (each
acknowledged by the log before it counts as sent), the *inbox* reads this client's partition of `replies` and hands each
reply to whoever waits for its message id. Replies to other clients share the partition and are passed over.
"""

from __future__ import annotations

import asyncio
import queue
import random
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import structlog

from penstock.client.silence import Silence
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.errors import LogError, LogUnavailable, NotAnswered, OffsetOutOfRange, Undecodable, UnknownTopic
from penstock.schemas.records.kinds import Command
from penstock.schemas.records.replies import Accepted, Rejected, Reply, RunClosed
from penstock.topics.catalogue import Topics
from penstock.topics.log import Log, Publisher, Reader, Record, StoredRecord
from penstock.topics.partitioner import partition_of

BATCH_RECORDS_MAX = 1_000
UNSENT_MAX = 10_000
PUBLISH_TIMEOUT_S = 30.0
READ_TIMEOUT_S = 0.2
RECONNECT_S = 1.0

_log = structlog.get_logger(__name__)


class _Letter(NamedTuple):
    record: Record
    sent: asyncio.Future[None]


class Advice(NamedTuple):
    """What to tell who cannot be served: what makes the `topics`, and what must be running as `host`."""

    topics: str
    host: str


class Exchange:
    """Publishes commands and matches replies, for one client on one event loop."""

    def __init__(self, log: Log, topics: Topics, loop: asyncio.AbstractEventLoop, advice: Advice) -> None:
        self._log, self._topics, self._loop, self._advice = log, topics, loop, advice
        self.silence = Silence(advice.host, topics.namespace)
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._letters: queue.Queue[_Letter | None] = queue.Queue()
        self._room = asyncio.Semaphore(UNSENT_MAX)
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self.shards = 0
        self.reply_to = -1

    def open(self) -> None:
        """Look the topics up and start both threads. Blocks.

        Raises UnknownTopic (the namespace has no topics yet; says how it gets them), LogUnavailable.
        """
        facts = self._log.describe([self._topics.commands, self._topics.replies])
        for topic in (self._topics.commands, self._topics.replies):
            if topic not in facts:
                raise UnknownTopic(f"the topic {topic} does not exist: {self._advice.topics}")
        self.shards = facts[self._topics.commands].partitions
        self.reply_to = random.randrange(facts[self._topics.replies].partitions)  # noqa: S311 - spreads clients, no secret
        reader = self._reader()  # before the first command, so that no answer is missed
        publisher = self._log.publisher()
        self._begin("outbox", lambda: self._send_all(publisher))
        self._begin("inbox", lambda: self._receive_all(reader))

    def close(self) -> None:
        """Publish what is queued, within a bound, and stop both threads. Blocks."""
        self._closing.set()
        self._letters.put(None)
        for thread in self._threads:
            thread.join(PUBLISH_TIMEOUT_S + READ_TIMEOUT_S)

    async def ask(self, command: Command, timeout_s: float | None, *, at_once: bool = True) -> Reply:
        """Publish a command that names `message_id` and `reply_to`, and wait for its answer.

        `at_once`: processors answer it without delay, so that some seconds of silence are told (silence.py).
        Raises NotAnswered after `timeout_s` (the command stands in the log), LogError when it could not be published.
        """
        answer: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting[command.message_id] = answer
        notice: asyncio.TimerHandle | None = None
        try:
            await self.publish(command)
            if at_once:
                notice = self._loop.call_later(self.silence.after_s, self._silent, command, timeout_s)
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise self._unanswered(timeout_s) from None
        finally:
            del self._waiting[command.message_id]
            if notice is not None:
                notice.cancel()

    async def publish(self, command: Command) -> None:
        """Append the command to its shard; returns once the log has acknowledged it. Raises LogError."""
        key = command.workflow_id.encode()
        shard = partition_of(key, self.shards)
        record = Record(topic=self._topics.commands, partition=shard, key=key, value=encode(command))
        async with self._room:
            sent: asyncio.Future[None] = self._loop.create_future()
            self._letters.put(_Letter(record, sent))
            await sent

    def _silent(self, command: Command, timeout_s: float | None) -> None:
        self.silence.of_order(command, len(self._waiting) - 1, timeout_s)

    def _unanswered(self, timeout_s: float | None) -> NotAnswered:
        seconds = f"{round(timeout_s, 2):g} s" if timeout_s is not None else "the time given"
        return NotAnswered(
            f"no processor answered within {seconds}; the command is in the log and will be carried out once one runs: "
            f"is {self._advice.host} running for namespace {self._topics.namespace}?"
        )

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=f"penstock-client-{name}", daemon=True)
        thread.start()
        self._threads.append(thread)

    # The outbox's thread

    def _send_all(self, publisher: Publisher) -> None:
        while batch := self._next_batch():
            told: list[Exception | None] = [_Untold()] * len(batch)
            try:
                for index, letter in enumerate(batch):
                    publisher.send(letter.record, _noting(told, index))
                publisher.flush(PUBLISH_TIMEOUT_S)
            except Exception as error:  # noqa: BLE001 - whatever it was, those who wait must hear it
                told = [error if isinstance(known, _Untold) else known for known in told]
            self._in_loop(_settle, [letter.sent for letter in batch], told)
        try:
            publisher.close()
        except LogError as error:
            _log.warning("the publisher did not close cleanly", error=str(error))

    def _next_batch(self) -> list[_Letter]:
        first = self._letters.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < BATCH_RECORDS_MAX:
            try:
                letter = self._letters.get_nowait()
            except queue.Empty:
                break
            if letter is None:
                self._letters.put(None)  # close comes after this batch
                break
            batch.append(letter)
        return batch

    # The inbox's thread

    def _reader(self) -> Reader:
        place = (self._topics.replies, self.reply_to)
        return self._log.reader({place: self._log.ends([place])[place][1]})

    def _receive_all(self, reader: Reader) -> None:
        while not self._closing.is_set():
            try:
                records = reader.read(BATCH_RECORDS_MAX, READ_TIMEOUT_S)
            except LogUnavailable as error:
                _log.warning("replies cannot be read at present", error=str(error))
                self._closing.wait(RECONNECT_S)
            except OffsetOutOfRange:  # away for longer than replies are kept: those are gone, askers ask again
                reader.close()
                reader = self._reader()
            else:
                replies = [reply for record in records if (reply := _reply(record)) is not None]
                if replies:
                    self._in_loop(self._deliver, replies)
        reader.close()

    def _deliver(self, replies: list[Reply]) -> None:
        for reply in replies:
            answer = self._waiting.get(reply.message_id)
            if answer is not None and not answer.done():
                answer.set_result(reply)
                self.silence.broken()

    def _in_loop(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop was closed under us: nobody waits any more
            _log.debug("the event loop is closed")


def seconds_left(deadline: float | None) -> float | None:
    """Seconds until a `time.monotonic()` moment, never negative; None for no limit."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


class _Untold(LogError):
    """The log said nothing about this record."""

    def __init__(self) -> None:
        super().__init__("the log did not say whether it took the command; sending it again is harmless.")


def _noting(errors: list[Exception | None], index: int) -> Callable[[Exception | None], None]:
    def note(error: Exception | None) -> None:
        errors[index] = error

    return note


def _settle(futures: list[asyncio.Future[None]], errors: list[Exception | None]) -> None:
    for future, error in zip(futures, errors, strict=True):
        if future.done():  # the asker gave up
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _reply(record: StoredRecord) -> Reply | None:
    try:
        value = decode(record.value or b"")
    except Undecodable as error:
        _log.debug(
            "passed over an undecodable reply", partition=record.partition, offset=record.offset, error=str(error)
        )
        return None
    return value if isinstance(value, Accepted | Rejected | RunClosed) else None
