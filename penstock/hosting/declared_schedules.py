"""Schedules that code declares by `@workflow(schedule=…)`: created, or changed, when a processor starts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import structlog

from penstock.client.client import Client
from penstock.config import Settings
from penstock.engine.authoring.definition import WorkflowDefinition
from penstock.hosting.parts import Part
from penstock.schemas.errors import LogError, NotAnswered, PenstockError
from penstock.topics.log import Log

logger = structlog.get_logger(__name__)

AGAIN_S = 5.0
STOP_POLL_S = 0.1

Workflows = Mapping[str, WorkflowDefinition[Any, Any]]


def schedule_parts(log: Log, settings: Settings, workflows: Workflows, *, if_declared: bool = False) -> list[Part]:
    """What applies the schedules of these workflows, in a thread, and names those that are no longer declared.

    `if_declared`: only if one is declared."""
    if not any(found.schedule is not None for found in workflows.values()) and (if_declared or not workflows):
        return []
    return [SchedulesPart(log, settings, workflows)]


class SchedulesPart(Part):
    """Applies the declared schedules once processors answer, then waits to be stopped."""

    def __init__(self, log: Log, settings: Settings, workflows: Workflows) -> None:
        self._log, self._settings, self._workflows = log, settings, workflows
        self._stop = threading.Event()
        super().__init__("schedules", self._apply, self._stop.set)

    def _apply(self) -> None:
        asyncio.run(self._until_stopped())
        self._stop.wait()

    async def _until_stopped(self) -> None:
        async with Client(log=self._log, settings=self._settings) as client:
            client.exchange.unanswered.warn = logger.debug  # a processor of this process is about to start
            work = asyncio.create_task(self._apply_all(client))
            while not (work.done() or self._stop.is_set()):
                await asyncio.wait([work], timeout=STOP_POLL_S)
            work.cancel()
            await asyncio.wait([work])

    async def _apply_all(self, client: Client) -> None:
        declared = {name: found for name, found in self._workflows.items() if found.schedule is not None}
        for name, definition in declared.items():
            await _answered(lambda: _declared(client, name, definition))  # noqa: B023 - awaited in this turn of the loop
        await _answered(lambda: self._name_undeclared(client))

    async def _name_undeclared(self, client: Client) -> None:
        """Warn of schedules that code declared and no longer does."""
        for found in await client.schedules.list(limit=10_000):
            definition = self._workflows.get(found["type"])
            if found["by_code"] and definition is not None and definition.schedule is None:
                logger.warning(
                    "a schedule is no longer declared by its workflow, and goes on until it is deleted",
                    schedule=found["name"],
                    delete=f"penstock schedule delete {found['name']}",
                )


async def _declared(client: Client, name: str, definition: WorkflowDefinition[Any, Any]) -> None:
    assert definition.schedule is not None, "only workflows with a schedule are applied"
    await client.schedules.declare(name, definition.call_without_input(), definition.schedule)
    logger.info("schedule applied", schedule=name)


async def _answered(act: Any) -> None:
    """Repeat until a processor has answered; a refusal is logged."""
    while True:
        try:
            await act()
        except (NotAnswered, LogError) as error:
            logger.debug("schedules are applied later", error=str(error))
            await asyncio.sleep(AGAIN_S)
        except PenstockError as error:
            logger.error("schedule not applied", error=str(error))
            return
        else:
            return
