"""How does Penstock run inside another program, a web application or a test? As an Engine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType, TracebackType
from typing import Any, TypeVar

import msgspec
import structlog

from penstock.client.client import Client
from penstock.config import Settings, load
from penstock.engine.authoring.workflow import WorkflowDefinition, registered_workflows
from penstock.engine.runtime.driver import DriverSettings, wall_clock_ms
from penstock.hosting.parts import (
    HASH_SEED,
    Part,
    ProcessorPart,
    Reach,
    make_topics,
    processor_part,
    queues_of,
    start_parts,
    stop_parts,
    worker_part,
)
from penstock.loading import load_module
from penstock.observe.logs import route_to_logging
from penstock.schemas.errors import BadInput, UserError
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from penstock.topics.log import Log
from penstock.workers.activity.decorator import ActivityDefinition, registered

_log = structlog.get_logger(__name__)

D = TypeVar("D", WorkflowDefinition[..., Any], ActivityDefinition[..., Any])
Hosted = str | ModuleType | WorkflowDefinition[..., Any] | ActivityDefinition[..., Any]


class Engine:
    """`async with Engine(["orders.flow"]) as engine: run = await engine.client.start(…)`.

    `hosted`: modules (imported ones, or names and files as the command line takes them), or single workflows and
    activities, or one of these; with modules, or nothing, everything that is defined in this process runs. `url`,
    `namespace`, `settings` as for Client. `concurrency`: activities at once. `clock_ms`: the time by which runs go, in
    milliseconds since the epoch. Topics are made when the block begins; when it ends, running activities end first.

    Raises ModuleNotLoaded, SettingsError, BadInput, LogError; on leaving, what ended the processor or the worker early.
    """

    _driver = DriverSettings()
    _strict_inputs = False

    def __init__(
        self,
        hosted: Hosted | Iterable[Hosted] = (),
        url: str | None = None,
        *,
        namespace: str | None = None,
        concurrency: int = 100,
        settings: Settings | None = None,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        if url is not None and not isinstance(url, str):
            raise BadInput("an Engine takes what it hosts as a list: Engine([order, deliver]).")
        self._clock_ms = clock_ms
        self.settings = settings or load({"log": url, "namespace": namespace}, os.environ)
        self._hosted, self._concurrency = listed(hosted), concurrency
        self._log: Log | None = None
        self._reach: Reach | None = None
        self._processor: ProcessorPart | None = None
        self._parts: list[Part] = []
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """A client of this engine's namespace, open inside the block."""
        if self._client is None:
            raise UserError("this engine does not run: use it inside `async with Engine(…) as engine:`.")
        return self._client

    async def __aenter__(self) -> Engine:
        route_to_logging()
        if os.environ.get(HASH_SEED) != "0" and self.settings.state_path is not None:
            _log.info("workflows that iterate over sets need PYTHONHASHSEED=0 to be replayed alike by later processes")
        workflows, activities = _chosen(self._hosted)
        topics = Topics(self.settings.namespace, self.settings.prefix)
        try:
            log = self._log = await asyncio.to_thread(connect, self.settings.log)
            shards = await asyncio.to_thread(make_topics, log, topics, self.settings, queues_of(activities))
            reach = Reach(log, topics, shards)
            driver = msgspec.structs.replace(self._driver, private_log=self.settings.in_memory)
            processor = processor_part(
                reach,
                self.settings,
                workflows,
                clock_ms=self._clock_ms,
                driver=driver,
                strict_inputs=self._strict_inputs,
            )
            workers = [worker_part(reach, activities, concurrency=self._concurrency)] if activities else []
            self._reach, self._processor = reach, processor
            self._parts = [*workers, processor]
            start_parts(self._parts)
            client = Client(log=log, settings=self.settings)
            await client.__aenter__()
            self._client = client
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        client, self._client = self._client, None
        parts, self._parts = self._parts, []
        log, self._log = self._log, None
        try:
            if client is not None:
                await client.__aexit__(None, None, None)
            await asyncio.to_thread(stop_parts, parts)
        finally:
            if log is not None:
                await asyncio.to_thread(log.close)


def listed(hosted: Hosted | Iterable[Hosted]) -> list[Hosted]:
    """One thing to host, or several, as a list."""
    if isinstance(hosted, Iterable) and not isinstance(hosted, str):
        return list(hosted)
    return [hosted]


def _chosen(
    hosted: Sequence[Hosted],
) -> tuple[dict[str, WorkflowDefinition[Any, Any]], dict[str, ActivityDefinition[..., Any]]]:
    workflows: dict[str, WorkflowDefinition[Any, Any]] = {}
    activities: dict[str, ActivityDefinition[..., Any]] = {}
    for one in hosted:
        if isinstance(one, WorkflowDefinition):
            _add(workflows, one)
        elif isinstance(one, ActivityDefinition):
            _add(activities, one)
        elif isinstance(one, str):
            load_module(one)
        elif not isinstance(one, ModuleType):
            raise BadInput(f"an Engine hosts modules, workflows and activities, not {one!r}.")
    if workflows or activities:
        return workflows, activities
    return registered_workflows(), dict(registered())


def _add(hosted: dict[str, D], one: D) -> None:
    known = hosted.setdefault(one.name, one)
    if known is not one:
        raise BadInput(f"the Engine is to host two called {one.name!r}: {known!r} and {one!r}; leave one of them out.")
