"""Engine: processor, worker and client inside another program, such as a web application or a test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, TypeVar

import msgspec
import structlog

from penstock.client.client import Client
from penstock.client.lifecycle import AsyncLifecycle
from penstock.config import Settings, load
from penstock.engine.authoring.class_form import definition_of
from penstock.engine.authoring.definition import WorkflowDefinition, registered_workflows
from penstock.engine.core.versions import WorkflowTypes
from penstock.engine.runtime.driver import DriverSettings, wall_clock_ms
from penstock.hosting.declared_schedules import schedule_parts
from penstock.hosting.hash_seed import HASH_SEED_WARNING, hash_seed_is_fixed
from penstock.hosting.membership import announcement, join
from penstock.hosting.namespace import Namespace, make_topics, queues_of
from penstock.hosting.parts import Part, ProcessorPart, processor_part, start_parts, stop_parts, worker_part
from penstock.loading import load_module
from penstock.schemas.errors import BadInput, UserError
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from penstock.topics.log import Log
from penstock.topics.members import Membership
from penstock.workers.activity.decorator import ActivityDefinition, registered

logger = structlog.get_logger(__name__)

Workflows = WorkflowTypes[WorkflowDefinition[Any, Any]]
Activities = dict[str, ActivityDefinition[..., Any]]
D = TypeVar("D", WorkflowDefinition[..., Any], ActivityDefinition[..., Any])
Hosted = str | ModuleType | WorkflowDefinition[..., Any] | ActivityDefinition[..., Any] | type[Any]
"""A module (imported, or its name or file), a workflow (a function or a class) or an activity."""


class Engine(AsyncLifecycle):
    """`async with Engine(["orders.flow"]) as engine: run = await engine.client.start(…)`.

    `hosted`: one item or several: modules (imported ones, or names and files as on the command line), workflows,
    activities. With modules, or nothing, everything that this process defines is hosted; otherwise only the workflows
    and activities given. `url`, `namespace`, `settings` as for Client. `concurrency`: activities at once. `clock_ms`:
    the clock of the runs, in milliseconds since the epoch. Missing topics are created on entering the block; leaving
    it waits for running activities.

    Raises ModuleNotLoaded, SettingsError, BadInput, NotAdmitted (another application runs in the namespace), LogError;
    on leaving, the error that ended the processor or the worker early.
    """

    _driver = DriverSettings()
    _strict_inputs = False
    _serves_http = True
    _applies_schedules = True

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
            raise BadInput("Engine takes what it hosts as one list: Engine([order, deliver]).")
        self._clock_ms = clock_ms
        self.settings = settings or load({"log": url, "namespace": namespace}, os.environ)
        self._hosted, self._concurrency = as_list(hosted), concurrency
        self._log: Log | None = None
        self._namespace: Namespace | None = None
        self._processor: ProcessorPart | None = None
        self._parts: list[Part] = []
        self._client: Client | None = None
        self._membership: Membership | None = None

    @property
    def client(self) -> Client:
        """A client of this engine's namespace, open inside the block."""
        if self._client is None:
            raise UserError("this engine is not running: use it inside `async with Engine(…) as engine:`.")
        return self._client

    async def _open(self) -> None:
        if not (self.settings.in_memory or hash_seed_is_fixed()):
            logger.warning(HASH_SEED_WARNING)
        workflows, activities = self._definitions()
        topics = Topics(self.settings.namespace, self.settings.prefix)
        log = self._log = await asyncio.to_thread(connect, self.settings.log)
        shards = await asyncio.to_thread(make_topics, log, topics, self.settings, queues_of(activities))
        namespace = self._namespace = Namespace(log, topics, shards)
        if not self.settings.in_memory:
            announced = announcement(self.settings, workflows, activities)
            self._membership = await asyncio.to_thread(join, namespace, self.settings, announced, self._request_stop)
        driver = msgspec.structs.replace(self._driver, private_log=self.settings.in_memory)
        processor = processor_part(
            namespace,
            self.settings,
            workflows,
            clock_ms=self._clock_ms,
            driver=driver,
            strict_inputs=self._strict_inputs,
            serves_http=self._serves_http,
            membership=self._membership,
        )
        workers = (
            [worker_part(namespace, activities, self.settings, concurrency=self._concurrency)] if activities else []
        )
        self._processor = processor
        schedules = []
        if self._applies_schedules:
            schedules = schedule_parts(log, self.settings, workflows, if_declared=True)
        self._parts = [*schedules, *workers, processor]
        start_parts(self._parts)
        client = Client(log=log, settings=self.settings)
        await client.__aenter__()
        self._client = client

    def _definitions(self) -> tuple[Workflows, Activities]:
        """What this engine hosts. Raises ModuleNotLoaded, BadInput."""
        return _hosted_definitions(self._hosted)

    async def _close(self) -> None:
        client, self._client = self._client, None
        parts, self._parts = self._parts, []
        log, self._log = self._log, None
        membership, self._membership = self._membership, None
        try:
            if client is not None:
                await client.__aexit__(None, None, None)
            await asyncio.to_thread(stop_parts, parts)
        finally:
            if membership is not None:
                await asyncio.to_thread(membership.leave)
            if log is not None:
                await asyncio.to_thread(log.close)
        if membership is not None and membership.error is not None:
            raise membership.error

    def _request_stop(self) -> None:
        """Stop deciding and working: this build is too old for its namespace."""
        for part in self._parts:
            part.request_stop()


def as_list(hosted: Hosted | Iterable[Hosted]) -> list[Hosted]:
    """Return one item to host, or several, as a list."""
    if isinstance(hosted, Iterable) and not isinstance(hosted, str):
        return list(hosted)
    return [hosted]


def _hosted_definitions(hosted: Sequence[Hosted]) -> tuple[Workflows, Activities]:
    workflows: Workflows = WorkflowTypes()
    activities: Activities = {}
    for item in hosted:
        if isinstance(item, WorkflowDefinition):
            _add_version(workflows, item)
        elif isinstance(item, ActivityDefinition):
            _add(activities, item)
        elif isinstance(item, type) and (defined := definition_of(item)) is not None:
            _add_version(workflows, defined)
        elif isinstance(item, str):
            load_module(item)
        elif not isinstance(item, ModuleType):
            raise BadInput(f"Engine hosts modules, workflows and activities, not {item!r}: is a decorator missing?")
    if workflows or activities:
        return workflows, activities
    return registered_workflows(), dict(registered())


def _add_version(workflows: Workflows, definition: WorkflowDefinition[Any, Any]) -> None:
    _refuse_other(workflows.of(definition.name).get(definition.version), definition)
    workflows.add(definition)


def _add(definitions: Activities, definition: ActivityDefinition[..., Any]) -> None:
    _refuse_other(definitions.setdefault(definition.name, definition), definition)


def _refuse_other(known: D | None, definition: D) -> None:
    if known is not None and known is not definition:
        raise BadInput(
            f"Engine was given two definitions called {definition.name!r}: {known!r} and {definition!r}; remove one."
        )
