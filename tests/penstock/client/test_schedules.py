"""Tests of `client.schedules` on a running namespace in memory."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from penstock.client.sync import SyncClient
from penstock.engine.authoring.context import info
from penstock.engine.authoring.workflow import workflow
from penstock.hosting.engine import Engine
from penstock.schemas.errors import BadInput, BadName, ScheduleAlreadyExists, ScheduleNotFound, UnknownWorkflowType
from penstock.schemas.values.schedule import Calendar, Schedule

YEARLY = Schedule(calendar=Calendar(month=1, day=1), timezone="Europe/Prague")


@workflow
async def client_report(pages: int) -> str:
    return f"{pages} pages, tick {info().scheduled_at}"


@workflow
async def client_elsewhere() -> None:
    pass


@pytest.fixture
def hosted(tmp_path):
    """Return a function that runs a coroutine function of a namespace's schedules and client."""
    return lambda use: _hosted(f"embedded:{tmp_path}/log", use)


def _hosted(url, use):
    async def run():
        async with Engine([client_report], url) as engine:
            return await asyncio.wait_for(use(engine.client.schedules, engine.client), 30)

    return asyncio.run(run())


def test_create_describe_list_delete(hosted):
    """A created schedule is described and listed; a second one of its name is refused; a deleted one is gone."""

    async def use(schedules, client):
        handle = await schedules.create("yearly", client_report(3), YEARLY, memo={"team": "a"})
        with pytest.raises(ScheduleAlreadyExists, match="There is a schedule yearly"):
            await schedules.create("yearly", client_report(3), YEARLY)
        await schedules.create("yearly", client_report(4), YEARLY, may_exist=True)
        described, listed = await handle.describe(), await schedules.list()
        await handle.delete()
        with pytest.raises(ScheduleNotFound, match="There is no schedule yearly"):
            await handle.describe()
        with pytest.raises(ScheduleNotFound):
            await schedules.get("yearly").pause()
        return described, listed

    described, listed = hosted(use)
    assert (described["input"], described["type"], described["when"]) == (4, "client_report", ["0 0 1 1 * *"])
    assert len(described["upcoming_ms"]) == 5
    assert [found["name"] for found in listed] == ["yearly"]


def test_an_update_with_what_is_described_changes_nothing(hosted):
    """A schedule updated by itself has the ticks that it had, none twice; another one has other ticks."""

    async def use(schedules, client):
        handle = await schedules.create("yearly", client_report(3), YEARLY)
        before = await handle.describe()
        await handle.update(YEARLY)
        same = await handle.describe()
        await handle.update(Schedule(every="1h"), client_report(5))
        return before, same, await handle.describe()

    before, same, after = hosted(use)
    assert before == same
    assert (after["when"], after["input"]) == (["every 3600 s"], 5)


def test_a_trigger_gives_the_run(hosted):
    """A trigger returns the handle of its run, and None if the policy lets it wait or skips it."""

    async def use(schedules, client):
        handle = await schedules.create("paused", client_report(3), Schedule(every="1h", paused=True, note="by hand"))
        run = await handle.trigger()
        result = await run.result(timeout=10)
        return result, (await handle.describe())["note"]

    result, note = hosted(use)
    assert result.startswith("3 pages, tick 20")
    assert note == "by hand"


def test_a_run_knows_its_tick(hosted):
    """The code of a run knows the tick it stands for; a backfill runs the ticks of the past."""

    async def use(schedules, client):
        handle = await schedules.create("hourly", client_report(1), Schedule(every="1h"))
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        note = await handle.backfill(hour - timedelta(hours=1), hour)
        name = f"hourly-{(hour - timedelta(hours=1)).isoformat().replace('+00:00', 'Z')}"
        return note, hour - timedelta(hours=1), await client.result(name, timeout=10)

    note, tick, result = hosted(use)
    assert note == "the range has 2 ticks"
    assert result == f"1 pages, tick {tick}"


def test_mistakes_before_anything_is_sent(hosted):
    """What is no schedule, no call or no moment is refused where it is given."""

    async def use(schedules, client):
        with pytest.raises(BadInput, match="is a Schedule"):
            await schedules.create("x", client_report(1), "0 2 * * *")
        with pytest.raises(BadInput, match="from one aware datetime"):
            await schedules.get("x").backfill("2026", "2027")
        with pytest.raises(BadName, match="as only schedules do"):
            schedules.get("schedule:x")
        with pytest.raises(UnknownWorkflowType):
            await schedules.create("x", client_elsewhere(), YEARLY)
        with pytest.raises(BadInput, match="leave `version` out of its call"):
            await schedules.create("x", client_report(1).options(version=1), YEARLY)
        with pytest.raises(BadName, match="as only schedules do"):
            await client.start(client_report(1), id="schedule:x")

    hosted(use)


def test_a_sync_client_has_the_same_methods(tmp_path):
    """SyncClient steers schedules as Client does."""
    url = f"embedded:{tmp_path}/log"

    def use():
        with SyncClient(url) as client:
            handle = client.schedules.create("sync", client_report(2), Schedule(every="1h"))
            handle.pause("for now")
            handle.resume()
            assert client.result(handle.trigger(), timeout=20).startswith("2 pages")
            handle.update(Schedule(every="2h"))
            now = datetime.now(UTC)
            assert handle.backfill(now, now).startswith("the range has")
            assert [found["name"] for found in client.schedules.list()] == ["sync"]
            assert client.schedules.get("sync").describe()["when"] == ["every 7200 s"]
            handle.delete()

    async def run():
        async with Engine([client_report], url) as engine:
            await engine.client.list()
            await asyncio.wait_for(asyncio.to_thread(use), 60)

    asyncio.run(run())
