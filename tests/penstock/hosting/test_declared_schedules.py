"""Tests of schedules that code declares: applied when a processor starts, named when no longer declared."""

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from penstock.engine.authoring.definition import TypeOptions, WorkflowDefinition
from penstock.engine.authoring.workflow import workflow
from penstock.hosting.declared_schedules import schedule_parts
from penstock.hosting.engine import Engine
from penstock.hosting.parts import start_parts, stop_parts
from penstock.schemas.errors import BadInput, ScheduleNotFound
from penstock.schemas.values.schedule import Schedule
from penstock.topics.connect import connect

DAILY, HOURLY = Schedule(cron="0 2 * * *", timezone="Europe/Prague"), Schedule(every="1h")


async def declared_report(pages: int = 3) -> int:
    return pages


def report_with(schedule):
    return WorkflowDefinition(declared_report, TypeOptions("declared-report", schedule=schedule))


@workflow(name="declared-class", schedule=Schedule(every="1h"))
class DeclaredClass:
    def __init__(self, pages: int = 4) -> None:
        self.pages = pages

    @workflow.run
    async def run(self) -> int:
        return self.pages


async def described(engine, name):
    """The description of a schedule, once it is applied."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return await engine.client.schedules.get(name).describe()
        except ScheduleNotFound:
            assert time.monotonic() < deadline, f"the schedule {name} was not applied in time"
            await asyncio.sleep(0.05)


async def hosted(url, *definitions, act):
    async with Engine(list(definitions), url) as engine:
        return await asyncio.wait_for(act(engine), 40)


def test_a_declared_schedule_is_created_changed_and_kept(tmp_path):
    """A processor creates the declared schedule; a restart leaves it, paused or not; an edit changes it."""
    url = f"embedded:{tmp_path}/log"

    async def pause(engine):
        found = await described(engine, "declared-report")
        await engine.client.schedules.get("declared-report").pause("by hand")
        return found

    async def edited(engine):
        for _ in range(400):
            found = await described(engine, "declared-report")
            if found["when"] != ["0 2 * * *"]:
                return found
            await asyncio.sleep(0.05)
        raise AssertionError("the edit was not applied")

    first = asyncio.run(hosted(url, report_with(DAILY), act=pause))
    second = asyncio.run(hosted(url, report_with(HOURLY), act=edited))
    assert (first["by_code"], first["input"], first["when"]) == (True, 3, ["0 2 * * *"])
    assert (second["when"], second["paused"], second["note"]) == (["every 3600 s"], True, "by hand")


def test_a_class_declares_one_too(tmp_path):
    """A workflow class with defaults for its input may have a schedule."""
    found = asyncio.run(
        hosted(f"embedded:{tmp_path}/log", DeclaredClass, act=lambda engine: described(engine, "declared-class"))
    )
    assert (found["type"], found["input"]) == ("declared-class", 4)


def test_a_schedule_that_is_no_longer_declared_is_named(tmp_path):
    """A workflow without the schedule that it declared before leaves it going on, and the log says so."""
    url = f"embedded:{tmp_path}/log"
    asyncio.run(hosted(url, report_with(DAILY), act=lambda engine: described(engine, "declared-report")))
    bare = report_with(None)

    async def watch(engine):
        log = connect(url)
        parts = schedule_parts(log, engine.settings, {"declared-report": bare})
        start_parts(parts)
        try:
            for _ in range(400):
                if any("no longer declared" in line["event"] for line in logs):
                    return await described(engine, "declared-report")
                await asyncio.sleep(0.05)
            raise AssertionError(f"nothing was said of it: {logs}")
        finally:
            await asyncio.to_thread(stop_parts, parts)
            log.close()

    with capture_logs() as logs:
        found = asyncio.run(hosted(url, bare, act=watch))
    assert found["when"] == ["0 2 * * *"]


def test_mistakes_of_a_declaration():
    """A workflow that needs arguments cannot declare a schedule, nor can something else be one."""
    with pytest.raises(BadInput, match="'order' has no default"):

        @workflow(name="declared-wrong", schedule=HOURLY)
        async def wrong(order: str) -> None: ...

    with pytest.raises(BadInput, match="takes a Schedule such as"):
        workflow(schedule="0 2 * * *")  # type: ignore[call-overload]


def test_nothing_runs_without_a_declaration():
    """An engine whose workflows declare none has no part for it."""
    assert schedule_parts(None, None, {"declared-report": report_with(None)}, if_declared=True) == []
