"""Results that one client awaits: one standing request for each run, however many calls wait for it, or poll it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable

import msgspec

from penstock.schemas.records.replies import Reply
from penstock.schemas.records.run import AwaitResult

KEPT_S_MIN = 60.0
"""A request is kept for this long at least, so that polls with short time limits share one."""

MARGIN_S = 60.0
"""A request is kept for longer than its callers wait: the next one extends it in time."""


class _Standing(msgspec.Struct, eq=False):
    reply: asyncio.Future[Reply]
    until_s: float = 0.0
    callers: int = 0


class AwaitedResults:
    """Standing requests by message id. `client_id`: any id that no other client has."""

    def __init__(self, client_id: str, publish: Callable[[AwaitResult], Awaitable[None]]) -> None:
        self._client_id, self._publish = client_id, publish
        self._standing: dict[str, _Standing] = {}

    @property
    def has_callers(self) -> bool:
        """Whether a call waits for a reply that has not come."""
        return any(standing.callers and not standing.reply.done() for standing in self._standing.values())

    def deliver(self, reply: Reply) -> bool:
        """Hand a reply to those who wait for it, now or at their next call; whether it was expected."""
        standing = self._standing.get(reply.message_id)
        if standing is None or standing.reply.done():
            return False
        standing.reply.set_result(reply)
        return True

    async def wait(self, workflow_id: str, run_id: str, reply_to: int, timeout_s: float) -> Reply | None:
        """The reply to AwaitResult; None after `timeout_s`. Raises LogError if the request could not be published."""
        message_id = self._message_id(workflow_id, run_id)
        standing = self._standing.get(message_id)
        if standing is None:
            reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            standing = self._standing[message_id] = _Standing(reply)
        standing.callers += 1
        try:
            if standing.until_s < time.monotonic() + timeout_s and not standing.reply.done():
                command = AwaitResult(workflow_id=workflow_id, run_id=run_id, message_id=message_id, reply_to=reply_to)
                await self._extend(standing, command, timeout_s)
            await asyncio.wait((standing.reply,), timeout=timeout_s)
            return standing.reply.result() if standing.reply.done() else None
        finally:
            standing.callers -= 1
            self._release(message_id, standing)

    async def _extend(self, standing: _Standing, command: AwaitResult, timeout_s: float) -> None:
        kept_s = max(timeout_s, KEPT_S_MIN) + MARGIN_S
        before_s, standing.until_s = standing.until_s, time.monotonic() + kept_s
        try:
            await self._publish(msgspec.structs.replace(command, timeout_ms=int(kept_s * 1000)))
        except BaseException:
            standing.until_s = before_s
            raise

    def _release(self, message_id: str, standing: _Standing) -> None:
        """Forget a request that was answered; one without callers as soon as the processor forgets it too."""
        if standing.reply.done():
            if self._standing.get(message_id) is standing:
                del self._standing[message_id]
        elif not standing.callers:
            left_s = standing.until_s - time.monotonic()
            asyncio.get_running_loop().call_later(left_s, self._expire, message_id, standing)

    def _expire(self, message_id: str, standing: _Standing) -> None:
        is_over = not standing.callers and standing.until_s <= time.monotonic()
        if is_over and self._standing.get(message_id) is standing:
            del self._standing[message_id]

    def _message_id(self, workflow_id: str, run_id: str) -> str:
        """The same for each request of this client for one run, so that the processor keeps one row for all."""
        identity = f"{self._client_id}/{run_id}/{workflow_id}"
        return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
