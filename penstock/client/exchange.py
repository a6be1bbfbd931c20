"""Exchange of commands and replies over the log.

Two threads do the blocking work, so that the event loop never blocks: the *outbox* publishes commands in batches (each
acknowledged by the log before it counts as sent), the *inbox* (inbox.py) reads this client's partition of `replies`.
Each reply is matched to the command with its message id. Replies to other clients share the partition and are ignored.
"""

from __future__ import annotations

import asyncio
import queue
import random
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import structlog

from penstock.client.awaited import AwaitedResults
from penstock.client.inbox import READ_TIMEOUT_S, Inbox
from penstock.client.parts import Parts
from penstock.client.unanswered import Unanswered
from penstock.client.uuid7 import uuid7
from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import LogError, NotAnswered, UnknownTopic
from penstock.schemas.records.kinds import Command
from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.reading import DescribeWorkflow, ListWorkflows, ReadHistory
from penstock.schemas.records.replies import ReadAnswered, Reply
from penstock.schemas.records.schedule import DescribeSchedule, ListSchedules
from penstock.schemas.records.share import ListVersionShares
from penstock.topics.catalogue import Topics
from penstock.topics.log import Log, Publisher, Record, TopicPartition
from penstock.topics.partitioner import partition_of

BATCH_RECORDS_MAX = 1_000
UNSENT_MAX = 10_000
PUBLISH_TIMEOUT_S = 30.0
READS = (
    *(QueryWorkflow, DescribeWorkflow, ReadHistory, ListWorkflows),
    *(DescribeSchedule, ListSchedules, ListVersionShares),
)
"""Commands that a processor drops when their caller has given up."""

logger = structlog.get_logger(__name__)


class _Outgoing(NamedTuple):
    record: Record
    sent: asyncio.Future[None]


class Hints(NamedTuple):
    """Remedies for error messages: how to create missing topics, and which commands run a processor."""

    create_topics: str
    run_processor: str


class Exchange:
    """Publishes commands and matches replies, for one client on one event loop.

    `exchanged`: a number that each step of a call and each batch of replies changes. `on_call`: called by each call
    before it does anything."""

    def __init__(self, log: Log, topics: Topics, loop: asyncio.AbstractEventLoop, hints: Hints) -> None:
        self._log, self._topics, self._loop, self._hints = log, topics, loop, hints
        self.unanswered = Unanswered(hints.run_processor, topics.namespace)
        self._waiting: dict[str, list[asyncio.Future[Reply]]] = {}
        self._awaited = AwaitedResults(uuid7(), self.publish)
        self._parts = Parts()
        self._outgoing: queue.Queue[_Outgoing | None] = queue.Queue()
        self._room = asyncio.Semaphore(UNSENT_MAX)
        self._sending = 0
        self.exchanged = 0
        self.on_call: Callable[[], None] = lambda: None
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._inbox: Inbox | None = None
        self.shards = 0
        self.reply_to = -1

    def open(self) -> None:
        """Look up the topics and start both threads. Blocks. Raises UnknownTopic, LogUnavailable."""
        found = self._log.describe([self._topics.commands, self._topics.replies])
        for topic in (self._topics.commands, self._topics.replies):
            if topic not in found:
                raise UnknownTopic(f"the topic {topic} does not exist: {self._hints.create_topics}")
        self.shards = found[self._topics.commands].partitions
        self.reply_to = random.randrange(found[self._topics.replies].partitions)  # noqa: S311 - spreads clients, no secret
        # Before the first command, so that no answer is missed.
        inbox = Inbox(
            self._log, (self._topics.replies, self.reply_to), lambda replies: self._in_loop(self._deliver, replies)
        )
        publisher = self._log.publisher()
        self._start_thread("outbox", lambda: self._send_all(publisher))
        self._inbox = inbox
        self._start_thread("inbox", lambda: inbox.run(self._closing))

    def close(self) -> None:
        """Publish what is queued, within a time limit, and stop both threads. Blocks."""
        self._closing.set()
        self._outgoing.put(None)
        self._log.wake()
        for thread in self._threads:
            thread.join(PUBLISH_TIMEOUT_S + READ_TIMEOUT_S)

    async def ask(
        self, command: Command, timeout_s: float | None, *, at_once: bool = True, shard: int | None = None
    ) -> Reply:
        """Publish a command that has a `message_id` and `reply_to`, and wait for its reply.

        `at_once`: processors reply to it without delay, so that some seconds without a reply cause a warning
        (unanswered.py). `shard`: by default that of the workflow id.
        Raises NotAnswered after `timeout_s` (the command is in the log), LogError if it could not be published.
        """
        reply: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting.setdefault(command.message_id, []).append(reply)  # a caller's own id may be used twice at once
        warning: asyncio.TimerHandle | None = None
        try:
            await self.publish(command, shard)
            if at_once:
                warning = self._loop.call_later(self.unanswered.after_s, self._warn_unanswered, command, timeout_s)
            async with asyncio.timeout(timeout_s):
                return await reply
        except TimeoutError:
            raise self._not_answered(timeout_s, is_read=isinstance(command, READS)) from None
        finally:
            self._parts.forget(command.message_id)
            self._waiting[command.message_id].remove(reply)
            if not self._waiting[command.message_id]:
                del self._waiting[command.message_id]
            if warning is not None:
                warning.cancel()

    async def await_result(self, workflow_id: str, run_id: str, timeout_s: float) -> Reply:
        """Wait for the reply to AwaitResult, which this client sends once for all its calls that wait for the run.

        Raises NotAnswered after `timeout_s`, LogError."""
        self.exchanged += 1
        self.on_call()
        reply = await self._awaited.wait(workflow_id, run_id, self.reply_to, timeout_s)
        if reply is None:
            raise self._not_answered(timeout_s)
        return reply

    async def publish(self, command: Command, shard: int | None = None) -> None:
        """Append the command to a shard, by default to that of its workflow id. Returns once the log has acknowledged
        it. Raises LogError."""
        key = command.workflow_id.encode()
        shard = partition_of(key, self.shards) if shard is None else shard
        record = Record(topic=self._topics.commands, partition=shard, key=key, value=encode(command))
        self.exchanged += 1
        self._sending += 1
        self.on_call()
        try:
            async with self._room:
                sent: asyncio.Future[None] = self._loop.create_future()
                self._outgoing.put(_Outgoing(record, sent))
                await sent
        finally:
            self.exchanged += 1
            self._sending -= 1

    @property
    def log(self) -> Log:
        """The log that commands are published on."""
        return self._log

    @property
    def has_open_calls(self) -> bool:
        """Whether calls publish a command or wait for its reply."""
        return bool(self._sending) or self.is_waiting

    @property
    def is_waiting(self) -> bool:
        """Whether calls wait for replies, and all their commands are in the log."""
        return not self._sending and (self._awaited.has_callers or any(map(_undone, self._waiting.values())))

    def delivered(self) -> tuple[TopicPartition, int]:
        """The partition of replies that is read, and the offset up to which replies were handed to the event loop."""
        assert self._inbox is not None, "the exchange is open"
        return (self._topics.replies, self.reply_to), self._inbox.position

    def _warn_unanswered(self, command: Command, timeout_s: float | None) -> None:
        self.unanswered.command(command, len(self._waiting) - 1, timeout_s)

    def _not_answered(self, timeout_s: float | None, *, is_read: bool = False) -> NotAnswered:
        seconds = f"{round(timeout_s, 2):g} s" if timeout_s is not None else "the time given"
        trouble = self._inbox.trouble if self._inbox is not None else ""
        if trouble:
            kept = "" if is_read else "; the command is in the log and will be executed"
            return NotAnswered(
                f"no reply could be read within {seconds} ({trouble.rstrip('.')}){kept}: "
                "repeat the call once the log answers."
            )
        kept = "" if is_read else "; the command is in the log and will be executed once one runs"
        return NotAnswered(
            f"no processor answered within {seconds}{kept}: "
            f"check that {self._hints.run_processor} runs for namespace {self._topics.namespace}."
        )

    def _start_thread(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=f"penstock-client-{name}", daemon=True)
        thread.start()
        self._threads.append(thread)

    # The outbox's thread

    def _send_all(self, publisher: Publisher) -> None:
        while batch := self._next_batch():
            errors: list[Exception | None] = [_NotAcknowledged()] * len(batch)
            try:
                for index, outgoing in enumerate(batch):
                    publisher.send(outgoing.record, _error_setter(errors, index))
                publisher.flush(PUBLISH_TIMEOUT_S)
            except Exception as error:  # noqa: BLE001 - any failure is passed on to the waiting callers
                errors = [error if isinstance(known, _NotAcknowledged) else known for known in errors]
            self._in_loop(_settle, [outgoing.sent for outgoing in batch], errors)
        try:
            publisher.close()
        except LogError as error:
            logger.warning("publisher not closed cleanly", error=str(error))

    def _next_batch(self) -> list[_Outgoing]:
        first = self._outgoing.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < BATCH_RECORDS_MAX:
            try:
                outgoing = self._outgoing.get_nowait()
            except queue.Empty:
                break
            if outgoing is None:
                self._outgoing.put(None)  # stop after this batch
                break
            batch.append(outgoing)
        return batch

    # The event loop's thread

    def _deliver(self, replies: list[Reply]) -> None:
        self.exchanged += 1
        for arrived in replies:
            reply: Reply | None = arrived
            if isinstance(arrived, ReadAnswered) and arrived.parts > 1:
                reply = self._parts.joined(arrived) if arrived.message_id in self._waiting else None
            if reply is None:
                continue
            waiting = [future for future in self._waiting.get(reply.message_id, ()) if not future.done()]
            for future in waiting:
                future.set_result(reply)
            if waiting or self._awaited.deliver(reply):
                self.unanswered.reset()

    def _in_loop(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop was closed meanwhile: no caller is left
            logger.debug("the event loop is closed")


def _undone(futures: list[asyncio.Future[Reply]]) -> bool:
    return any(not future.done() for future in futures)


class _NotAcknowledged(LogError):
    """The log neither acknowledged nor refused this record."""

    def __init__(self) -> None:
        super().__init__("the log did not acknowledge the command; it is safe to send it again.")


def _error_setter(errors: list[Exception | None], index: int) -> Callable[[Exception | None], None]:
    def set_error(error: Exception | None) -> None:
        errors[index] = error

    return set_error


def _settle(futures: list[asyncio.Future[None]], errors: list[Exception | None]) -> None:
    for future, error in zip(futures, errors, strict=True):
        if future.done():  # the caller gave up
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
