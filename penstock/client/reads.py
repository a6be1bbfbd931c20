"""Committed reads: over HTTP from the owner of a shard where that answers, otherwise over the log (setting `reads`)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import structlog

from penstock.client.exchange import Exchange
from penstock.client.http_reads import ATTEMPTS_MAX, HttpReads
from penstock.client.log_reads import LogReads
from penstock.config import ReadWay
from penstock.schemas.errors import LogError, LogUnavailable, NotAnswered
from penstock.schemas.records.schedule import DescribeSchedule, ListSchedules
from penstock.schemas.records.share import ListVersionShares
from penstock.topics.catalogue import Topics
from penstock.topics.log import Log
from penstock.topics.partitioner import partition_of

logger = structlog.get_logger(__name__)

T = TypeVar("T")

Json = dict[str, Any]
"""A JSON object as the processors return it."""
JsonList = list[dict[str, Any]]
"""A list of JSON objects; named, since `list` is a method of Client."""

UNREACHABLE_S = 10.0
"""How long a shard whose owner did not answer over HTTP is read over the log alone."""


class Reads:
    """A client's reads. For one event loop. `way`: the setting `reads`."""

    def __init__(self, log: Log, topics: Topics, exchange: Exchange, way: ReadWay = "auto") -> None:
        self._way = way
        self._shards = exchange.shards
        self._http = HttpReads(log, topics, exchange.shards)
        self._over_log = LogReads(exchange)
        self._unreachable_until_s: dict[int, float] = {}

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def describe(self, workflow_id: str) -> Json:
        """Return the state of the id's current run. Raises WorkflowNotFound, NotAnswered, LogError."""
        return await self._read(
            [partition_of(workflow_id, self._shards)],
            lambda quick: self._http.describe(workflow_id, quick=quick),
            lambda: self._over_log.describe(workflow_id),
        )

    async def history(self, workflow_id: str, run_id: str = "") -> JsonList:
        """Return the numbered events of a run, by default the current one.

        Raises WorkflowNotFound, NotAnswered, LogError."""
        return await self._read(
            [partition_of(workflow_id, self._shards)],
            lambda quick: self._http.history(workflow_id, run_id, quick=quick),
            lambda: self._over_log.history(workflow_id, run_id),
        )

    async def runs(self, filters: Mapping[str, str]) -> JsonList:
        """Return runs of all shards, sorted by id, at most `limit`. Raises BadInput, NotAnswered, LogError."""
        return await self._read(
            list(range(self._shards)),
            lambda quick: self._http.runs(filters, quick=quick),
            lambda: self._over_log.runs(filters),
        )

    async def schedule(self, command: DescribeSchedule) -> Json:
        """Return the state of a schedule, over the log. Raises CommandRejected, NotAnswered, LogError."""
        return await self._over_log.schedule(command)

    async def schedules(self, command: ListSchedules) -> JsonList:
        """Return schedules of all shards, sorted by name, over the log. Raises BadInput, NotAnswered, LogError."""
        return await self._over_log.schedules(command)

    async def version_shares(self, command: ListVersionShares) -> JsonList:
        """Return the shares of versions, each with the shards that have it so. Raises NotAnswered, LogError."""
        return await self._over_log.version_shares(command)

    async def is_served(self, workflow_id: str, *, here: bool, attempts: int = ATTEMPTS_MAX) -> bool | None:
        """Return whether a processor owns the id's shard; None if the log cannot be read.

        `here`: all processors run on this machine, so that one which does not answer is gone. Otherwise reads may be
        out of reach, and an owner declared in `registry` counts.
        """
        if self._way == "log":
            return await self._over_log.is_served(workflow_id)
        return await self._http.is_served(workflow_id, here=here, attempts=attempts)

    async def _read(
        self, shards: list[int], over_http: Callable[[bool], Awaitable[T]], over_log: Callable[[], Awaitable[T]]
    ) -> T:
        """Read as the setting says; with `auto`, over HTTP unless a shard's owner did not answer lately."""
        if self._way == "http":
            return await over_http(False)
        if self._way == "log" or any(self._unreachable_until_s.get(shard, 0.0) > time.monotonic() for shard in shards):
            return await over_log()
        try:
            return await over_http(True)
        except LogUnavailable:
            raise
        except (NotAnswered, LogError) as error:
            logger.debug("reading over the log", shards=shards, error=str(error))
            self._unreachable_until_s.update(dict.fromkeys(shards, time.monotonic() + UNREACHABLE_S))
        return await over_log()
