"""Connection of a client to one namespace: the log, the exchange of commands and replies, and reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypedDict

from penstock.client.deadline import seconds_or
from penstock.client.exchange import Exchange, Hints
from penstock.client.outcome import refusal_of
from penstock.client.reads import Reads
from penstock.client.uuid7 import uuid7
from penstock.config import Settings
from penstock.schemas.errors import PenstockError, UnknownTopic, UserError
from penstock.schemas.records.kinds import Command
from penstock.schemas.records.replies import Accepted, Rejected, Reply, RunClosed
from penstock.schemas.values.levels import FIRST_LEVEL, LEVEL
from penstock.topics.catalogue import Topics, creation_advice
from penstock.topics.connect import connect
from penstock.topics.log import Log
from penstock.topics.members import forget_level, note_level
from penstock.topics.registry import read_registry

ANSWER_TIMEOUT_S = 30.0


class ReplyAddress(TypedDict):
    """Fields of a command by which its reply is found."""

    message_id: str
    reply_to: int


class Connection:
    """A client's connection, shared by the handles on its runs. For one event loop.

    `log`: an open log to use; it is left open by `close`. By default the log at `settings.log` is opened and closed.
    `hindrance`: waits until a run (id, run id) cannot close any more and returns why; None to wait for the run alone.
    """

    def __init__(self, settings: Settings, log: Log | None = None) -> None:
        self.settings = settings
        self.hindrance: Callable[[str, str], Coroutine[Any, Any, PenstockError]] | None = None
        self.topics = Topics(settings.namespace, settings.prefix)
        self._given_log, self._log = log, log
        self._exchange: Exchange | None = None
        self._reads: Reads | None = None

    async def open(self) -> None:
        """Open log and exchange. Raises UnknownTopic, LogUnavailable; `close` is due after an error, too."""
        if self._log is None:
            self._log = await asyncio.to_thread(existing_log, self.settings)
            if LEVEL > FIRST_LEVEL:  # processors of an older build must be able to read the commands
                registry = await asyncio.to_thread(read_registry, self._log, self.topics, ANSWER_TIMEOUT_S)
                note_level(self, registry.level)
        exchange = self._exchange = Exchange(self._log, self.topics, asyncio.get_running_loop(), _hints(self.settings))
        await asyncio.to_thread(exchange.open)
        self._reads = Reads(self._log, self.topics, exchange, self.settings.reads)

    async def close(self) -> None:
        """Close what `open` opened."""
        forget_level(self)
        reads, exchange, log = self._reads, self._exchange, self._log
        self._reads = self._exchange = None
        self._log = self._given_log
        if reads is not None:
            await reads.close()
        if exchange is not None:
            await asyncio.to_thread(exchange.close)
        if log is not None and self._given_log is None:
            await asyncio.to_thread(log.close)

    @property
    def reads(self) -> Reads:
        """Committed reads of the processors. Raises UserError unless open."""
        if self._reads is None:
            raise UserError("this client is not open: use it inside `async with Client() as client:`.")
        return self._reads

    @property
    def exchange(self) -> Exchange:
        """Exchange of commands and replies. Raises UserError unless open."""
        if self._exchange is None:
            raise UserError("this client is not open: use it inside `async with Client() as client:`.")
        return self._exchange

    def reply_address(self) -> ReplyAddress:
        """Return a new message id and the partition of `replies` that this client reads."""
        return {"message_id": uuid7(), "reply_to": self.exchange.reply_to}

    async def send(self, command: Command, deadline: float | None = None) -> Accepted:
        """Publish a command and return once a processor has accepted it. Raises CommandRejected, NotAnswered, LogError.

        The reply is awaited until `deadline`, by default for ANSWER_TIMEOUT_S.
        """
        reply = await self.ask(command, seconds_or(deadline, ANSWER_TIMEOUT_S))
        if isinstance(reply, RunClosed):  # the command reached a run that closed in the same decision
            return Accepted(
                message_id=reply.message_id, workflow_id=reply.workflow_id, run_id=reply.run_id, status=reply.status
            )
        assert isinstance(reply, Accepted), f"{type(command).__name__} is answered with {type(reply).__name__}"
        return reply

    async def ask(self, command: Command, timeout_s: float | None, *, at_once: bool = True) -> Reply:
        """Publish a command and return its reply, within that time. `at_once`: as for Exchange.ask.

        Raises CommandRejected, NotAnswered, LogError."""
        reply = await self.exchange.ask(command, timeout_s, at_once=at_once)
        if isinstance(reply, Rejected):
            raise refusal_of(reply)
        return reply

    async def await_close(self, workflow_id: str, run_id: str, timeout_s: float) -> RunClosed | None:
        """Wait until the run closes; None after another reply. Raises CommandRejected, NotAnswered."""
        reply = await self.exchange.await_result(workflow_id, run_id, timeout_s)
        if isinstance(reply, Rejected):
            raise refusal_of(reply)
        return reply if isinstance(reply, RunClosed) else None


def existing_log(settings: Settings) -> Log:
    """Open the log at the settings' URL. Raises UnknownTopic, LogUnavailable; an embedded log is never created here."""
    file = settings.log_file
    if file is not None and not file.exists():
        raise UnknownTopic(f"there is no log at {file} yet: {_hints(settings).create_topics}")
    return connect(settings.log)


def _hints(settings: Settings) -> Hints:
    if settings.embedded:
        return Hints("start `penstock dev FILE` first.", "`penstock dev …` or `penstock processor …`")
    return Hints(f"{creation_advice()} first.", "`penstock processor …`")
