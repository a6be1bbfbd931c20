"""Tests of processes that share a namespace: neighbours that are refused, and a rolling deploy between two engines."""

import asyncio
import os
import socket
import subprocess
import sys

import msgspec
import pytest
import structlog

from penstock.config import Settings
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.hosted import Hosted
from penstock.hosting.engine import Engine
from penstock.hosting.membership import REMINDER_S, Reminders, _has_ended, announcement
from penstock.schemas.errors import NotAdmitted
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from penstock.topics.members import Neighbours
from penstock.topics.publishing import publish
from penstock.topics.registry import level_record, read_registry
from penstock.workers.activity.decorator import activity

go = Signal("membership-go", int)
WAIT_S = 30.0


@workflow(name="membership-both")
async def both() -> int:
    return await go.wait()


@workflow(name="membership-new")
async def new(number: int) -> int:
    return await membership_step(number) + await go.wait()


@workflow(name="membership-other")
async def other() -> None: ...


@activity(name="membership-step")
def membership_step(number: int) -> int:
    return number


async def until(what, condition):
    async with asyncio.timeout(WAIT_S):
        while not await condition():
            await asyncio.sleep(0.05)


async def status_of(engine, id):
    return (await engine.client.describe(id))["status"]


def test_another_program_is_refused(tmp_path):
    """An Engine with no type in common with a running one raises an error with the remedy, and leaves no trace."""
    url = f"embedded:{tmp_path}/log"

    async def use():
        async with Engine([both], url):
            with pytest.raises(NotAdmitted, match="membership-other.*membership-both.*--namespace"):
                async with Engine([other], url):
                    pass
            async with Engine([other], url, namespace="another"):
                pass

    asyncio.run(use())
    log = connect(url)
    assert read_registry(log, Topics(), WAIT_S).members == {}
    log.close()


def test_another_application_is_refused(tmp_path):
    """Engines with different application names do not share a namespace."""
    url = f"embedded:{tmp_path}/log"

    async def use():
        async with Engine([both], settings=Settings(log=url, application="orders")):
            with pytest.raises(NotAdmitted, match="'billing'.*'orders'"):
                async with Engine([both], settings=Settings(log=url, application="billing")):
                    pass

    asyncio.run(use())


def test_a_rolling_deploy(tmp_path):
    """A start and an open run of a type that only the newer build hosts wait at the older one, and go on by themselves,
    forward and back."""
    url = f"embedded:{tmp_path}/log"
    newer_hosts = [both, new, membership_step]

    async def use():
        older = await Engine([both], url).__aenter__()
        newer = await Engine(newer_hosts, url).__aenter__()  # the only shard stays with the older one
        await newer.client.start(new(1), id="started")
        assert await status_of(newer, "started") == "waiting"
        await older.__aexit__(None, None, None)
        await until("the start to go on", lambda: awaits_signal(newer, "started"))
        back = await Engine([both], url).__aenter__()
        await newer.__aexit__(None, None, None)
        await until("the older build to own the shard", lambda: is_described(back))
        forward = await Engine(newer_hosts, url).__aenter__()
        await back.client.signal("started", go, 41)
        assert await status_of(back, "started") == "waiting"
        await back.__aexit__(None, None, None)
        assert await forward.client.result("started", timeout=WAIT_S) == 42
        await forward.__aexit__(None, None, None)

    async def is_described(engine):
        return await engine.client.describe("started")

    asyncio.run(use())


def test_a_new_neighbour_is_noticed(tmp_path):
    """A run that no live process hosts is BLOCKED, and waits as soon as a process that hosts it joins; the same again
    when that leaves."""
    url = f"embedded:{tmp_path}/log"

    async def use():
        async with Engine([both, new, membership_step], url) as newer:
            await newer.client.start(new(1), id="x")
            await until("its signal", lambda: awaits_signal(newer, "x"))
        async with Engine([both], url) as older:
            await older.client.signal("x", go, 41)
            assert await status_of(older, "x") == "blocked"
            async with Engine([both, new, membership_step], url):
                await until("it to wait", lambda: has_status(older, "x", "waiting"))
            await until("it to be blocked", lambda: has_status(older, "x", "blocked"))
            assert (await older.client.describe("x"))["unhosted"] == [
                "no live processor hosts the workflow membership-new"
            ]

    asyncio.run(use())


async def has_status(engine, id, status):
    return await status_of(engine, id) == status


async def awaits_signal(engine, id):
    return (await engine.client.describe(id))["signals_awaited"] == ["membership-go"]


def test_what_no_live_process_hosts_is_shown(tmp_path):
    """A described run names the activities that no live worker hosts."""
    url = f"embedded:{tmp_path}/log"

    async def use():
        async with Engine([new, membership_step], url):
            pass  # creates the queue
        async with Engine([new], url) as engine:
            await engine.client.start(new(1), id="x")
            return await engine.client.describe("x")

    assert asyncio.run(use())["unhosted"] == ["no live worker hosts the activity membership-step"]


def test_an_engine_that_became_too_old_stops(tmp_path):
    """When the namespace's level exceeds its own, an Engine stops deciding and raises the reason when it is left."""
    url = f"embedded:{tmp_path}/log"

    async def use():
        async with Engine([both], url) as engine:
            await asyncio.to_thread(publish, engine._log, [level_record(Topics(), 99, "operator")], WAIT_S)
            await until("its end", lambda: asyncio.sleep(0, all(part.ended for part in engine._parts)))

    with pytest.raises(NotAdmitted, match="feature level 99"):
        asyncio.run(use())


def test_reminders_of_lacking_types():
    """A type that this processor lacks is logged at once, then every minute."""
    seen = ((1, "a"), (2, "a"), (3, "ab"), (4, "ab"), (3 + REMINDER_S, "ab"), (99, ""))
    clock = [0.0]
    reminders = Reminders(Hosted({}), lambda: clock[0])
    with structlog.testing.capture_logs() as lines:
        for clock[0], types in seen:
            reminders.note(Neighbours(dict.fromkeys(types, 1)))
    assert [line["types"] for line in lines] == [["a"], ["a", "b"], ["a", "b"]]


def test_a_killed_process_on_this_machine_does_not_count():
    """On an embedded log, an announcement of a process that has ended does not refuse its successor."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(WAIT_S)
    own = announcement(Settings())
    assert (own.pid, own.host) == (os.getpid(), socket.gethostname())
    for fields, expected in (({}, False), ({"pid": ended.pid}, True), ({"pid": ended.pid, "host": "another"}, False)):
        assert _has_ended(msgspec.structs.replace(own, **fields)) is expected
