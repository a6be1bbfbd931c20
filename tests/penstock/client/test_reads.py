"""Contract of reads: the same answers and errors over HTTP, over the log, and by the way that a client chooses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from penstock.client import http_reads, log_reads
from penstock.client import reads as read_module
from penstock.client.client import Client
from penstock.client.http_reads import HttpReads
from penstock.client.sync import SyncClient
from penstock.config import ReadWay, Settings
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.engine.runtime import answers as answering
from penstock.engine.runtime import reads as rows
from penstock.hosting.engine import Engine
from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import BadInput, LogError, NotAnswered, WorkflowNotFound
from penstock.schemas.records.registry import ShardOwned
from penstock.schemas.records.replies import ReadAnswered, Rejected
from penstock.topics.log import Log, Record
from penstock.topics.publishing import publish
from penstock.topics.registry import shard_key
from tests.penstock.client.helpers import SETTINGS, with_client
from tests.penstock.conftest import SHARDS

T = TypeVar("T")

WAYS: list[ReadWay] = ["http", "log", "auto"]
NOWHERE = "http://127.0.0.1:9"
steps = Signal("reads-step", int)


@workflow(name="reads-counts")
async def counts(until: int) -> int:
    total = 0
    while total < until:
        total += await steps.wait()
    return total


def _read(way: ReadWay, use: Callable[[Engine, Client], Awaitable[T]], url: str = "embedded::memory:") -> T:
    """Run `use` with an engine of two shards, and a client that reads in this way."""
    settings = Settings(log=url, namespace="trial", shards=2, reads=way)

    async def run() -> T:
        async with Engine([counts], settings=settings) as engine:
            await engine.client.list()  # until it serves
            return await asyncio.wait_for(use(engine, engine.client), 60)

    return asyncio.run(run())


async def _begun(client: Client, count: int = 6) -> None:
    for number in range(count):
        run = await client.start(counts(2), id=f"run-{number}")
        for _ in range(number % 3):
            await run.signal(steps, 1)
        if number % 3 == 2:
            await run.result("20s")


def _unreachable(engine: Engine, address: str = NOWHERE) -> None:
    """Let the registry say that the shards are served at this address."""
    log, topics = engine.client.reads._http._log, engine.client.reads._http._topics
    owned = [
        ShardOwned(shard=shard, transactional_id="t", address=address, released=False, at_ms=1) for shard in (0, 1)
    ]
    publish(log, [Record(topics.registry, 0, shard_key(one.shard), encode(one)) for one in owned], 5)
    engine.client.reads._http._addresses = {}
    engine.client.reads._unreachable_until_s.clear()


@pytest.mark.parametrize("way", WAYS)
def test_what_is_read(way: ReadWay) -> None:
    """describe, history and list have what happened, in each way."""

    async def use(_: Engine, client: Client) -> None:
        await _begun(client)
        described = await client.describe("run-2")
        assert (described["status"], described["result"], described["events"]) == ("completed", 2, 4)
        assert (await client.describe("run-1"))["signals_awaited"] == ["reads-step"]
        history = await client.history("run-2")
        assert [event["number"] for event in history] == [1, 2, 3, 4]
        assert await client.get("run-2", run_id=described["run_id"]).history() == history
        listed = await client.list()
        assert [run["workflow_id"] for run in listed] == [f"run-{number}" for number in range(6)]
        assert listed[2] == {name: described[name] for name in listed[2]}
        closed = await client.list(status="completed", type="reads-counts")
        assert [run["workflow_id"] for run in closed] == ["run-2", "run-5"]
        page = await client.list(after="run-1", limit=3)
        assert [run["workflow_id"] for run in page] == ["run-2", "run-3", "run-4"]
        assert await client.list(type="none") == []

    _read(way, use)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_there(way: ReadWay) -> None:
    """An unknown id and an unknown run of a known id raise WorkflowNotFound, a bad limit BadInput, in each way."""

    async def use(_: Engine, client: Client) -> None:
        await _begun(client, 1)
        for read in (client.describe("missing"), client.history("missing")):
            with pytest.raises(WorkflowNotFound, match="There is no run with the id missing") as raised:
                await read
            assert raised.value.reason == "not_found"
        with pytest.raises(WorkflowNotFound, match="run-0 has no run other"):
            await client.get("run-0", run_id="other").history()
        with pytest.raises(BadInput, match="limit must be a number from 1 to 10000"):
            await client.reads.runs({"limit": "0"})

    _read(way, use)


def test_both_ways_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read over the log in small pages and parts equals what is read over HTTP."""
    monkeypatch.setattr(answering, "PART_BYTES_MAX", 50)
    monkeypatch.setattr(rows, "PAGE_BYTES_MAX", 100)

    async def use(_: Engine, client: Client) -> None:
        await _begun(client)
        http, log = client.reads._http, client.reads._over_log
        for number in range(6):
            assert await log.describe(f"run-{number}") == await http.describe(f"run-{number}")
            assert await log.history(f"run-{number}") == await http.history(f"run-{number}")
        for filters in ({}, {"limit": "4"}, {"status": "completed"}, {"after": "run-2", "limit": "2"}):
            assert await log.runs(filters) == await http.runs(filters)

    _read("auto", use)


@pytest.mark.parametrize("way", WAYS)
def test_a_read_after_a_reply(way: ReadWay) -> None:
    """What a reply has reported is read at once, in each way."""

    async def use(_: Engine, client: Client) -> None:
        run = await client.start(counts(1_000), id="run")
        for number in range(20):
            await run.signal(steps, 1)
            assert len(await run.history()) == number + 2

    _read(way, use)


@pytest.mark.parametrize("way", WAYS)
def test_an_unreachable_owner(way: ReadWay, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the owner's address cannot be reached, a client reads over the log; over HTTP alone it raises NotAnswered."""

    async def use(engine: Engine, client: Client) -> None:
        await _begun(client, 3)
        _unreachable(engine)
        monkeypatch.setattr(http_reads, "ATTEMPT_DELAY_S", 0.0)
        if way == "http":
            for read in (client.describe("run-2"), client.history("run-2"), client.list()):
                with pytest.raises(NotAnswered, match="no processor serves reads"):
                    await read
            return
        assert (await client.describe("run-2"))["status"] == "completed"
        assert len(await client.history("run-2")) == 4
        assert len(await client.list()) == 3

    _read(way, use)


def test_an_owner_that_does_not_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner that accepts connections and is silent is waited for once; later reads take the log at once."""
    monkeypatch.setattr(http_reads, "QUICK_TIMEOUT_S", 0.2)
    asked = 0

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        try:
            await asyncio.sleep(30)
        finally:
            writer.transport.abort()

    async def use(engine: Engine, client: Client) -> None:
        await _begun(client, 3)
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        _unreachable(engine, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        for _ in range(5):
            assert (await client.describe("run-2"))["status"] == "completed"
        server.close()
        assert asked == 1
        monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + read_module.UNREACHABLE_S)
        assert (await client.describe("run-2"))["status"] == "completed"

    _read("auto", use)


def test_an_owner_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is no processor's, such as that of another server at the address, is not taken for one."""
    answers: list[int] = []

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d Other\r\nConnection: close\r\nContent-Length: 5\r\n\r\nother" % answers.pop(0))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def use(engine: Engine, client: Client) -> None:
        await _begun(client, 3)
        server = await asyncio.start_server(other, "127.0.0.1", 0)
        for status in (404, 500, 403, 200):
            _unreachable(engine, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            answers[:] = [status]
            assert (await client.describe("run-2"))["status"] == "completed"
            assert not answers
        server.close()
        await server.wait_closed()

    _read("auto", use)


def test_over_the_log_nothing_is_asked_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `reads = log` neither reads nor the checks of a waiting client open a connection or read the registry."""

    async def fails(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(HttpReads, "_get", fails)
    monkeypatch.setattr(HttpReads, "_owner_addresses", fails)

    async def use(_: Engine, client: Client) -> None:
        await _begun(client, 3)
        assert (await client.describe("run-2"))["status"] == "completed"
        assert await client.reads.is_served("run-2", here=True) is True
        assert await client.reads.is_served("missing", here=True) is True

    _read("log", use)


@pytest.mark.parametrize("continues", [1, 1_000])
def test_a_run_that_continues_while_it_is_read(log: Log, processor: Callable[..., Any], continues: int) -> None:
    """A history whose run is followed by another between two pages is read from the beginning, a bounded time."""
    current = 0

    def answer(command: Any) -> list[object]:
        nonlocal current
        names = {"message_id": command.message_id, "workflow_id": "x"}
        if command.run_id not in {"", f"run-{current}"}:
            return [Rejected(**names, reason="not_found", message="x has no such run.")]
        page = {
            "run_id": f"run-{current}",
            "events": [{"number": command.after + 1, "event": "TimerFired"}],
            "more": not command.after,
        }
        if not command.after and current < continues:
            current += 1
        return [ReadAnswered(**names, shard=0, data=msgspec.json.encode(page))]

    async def use(client: Client) -> None:
        if continues == 1:
            assert [event["number"] for event in await client.history("x")] == [1, 2]
            return
        with pytest.raises(NotAnswered, match="x continued as a new run each time"):
            await client.history("x")

    with processor(answer) as fake:
        with_client(log, use, msgspec.structs.replace(SETTINGS, reads="log"))
    assert len(fake.commands) == (4 if continues == 1 else 2 * log_reads.BEGINNINGS_MAX)


@pytest.mark.parametrize("way", ["log", "auto"])
def test_no_processor(log: Log, way: ReadWay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a processor a read ends after a bounded time, in one sentence that names the command to run."""
    monkeypatch.setattr(log_reads, "READ_TIMEOUT_S", 0.3)

    async def use(client: Client) -> None:
        for read in (client.describe("x"), client.history("x"), client.list()):
            with pytest.raises(NotAnswered) as raised:
                await read
            assert str(raised.value) == (
                "no processor answered within 0.3 s: check that `penstock dev …` or `penstock processor …` runs for "
                "namespace trial."
            )
        assert await client.reads.is_served("x", here=True) is False

    settings = msgspec.structs.replace(SETTINGS, reads=way)
    with_client(log, use, settings)


@pytest.mark.parametrize("way", WAYS)
def test_the_sync_client(way: ReadWay, tmp_path: Path) -> None:
    """SyncClient reads in each way, in another process's place: with its own connection to the log."""
    url = f"embedded:{tmp_path}/log"

    def read() -> tuple[Any, ...]:
        with SyncClient(settings=Settings(log=url, namespace="trial", reads=way)) as client:
            return client.describe("run-2"), client.history("run-2"), client.list(limit=2)

    async def use(_: Engine, client: Client) -> None:
        await _begun(client, 3)
        described, history, listed = await asyncio.to_thread(read)
        assert (described["status"], len(history), len(listed)) == ("completed", 4, 2)

    _read(way, use, url)


def test_an_error_of_the_log_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read over the log that cannot be published raises the log's error."""

    async def use(_: Engine, client: Client) -> None:
        async def fails(*_: Any, **__: Any) -> None:
            raise LogError("refused")

        monkeypatch.setattr(client.exchange, "publish", fails)
        with pytest.raises(LogError, match="refused"):
            await client.describe("x")

    _read("log", use)


def test_a_list_without_one_shard(log: Log, processor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the log too, a list to which one shard does not answer is an error, and not a shorter list."""
    monkeypatch.setattr(log_reads, "READ_TIMEOUT_S", 0.3)
    answered: list[Any] = []

    def answer(command: Any) -> list[object]:
        if answered:
            return []
        answered.append(command)
        page = msgspec.json.encode({"runs": [], "next": ""})
        return [ReadAnswered(message_id=command.message_id, workflow_id="", shard=0, data=page)]

    async def use(client: Client) -> None:
        with pytest.raises(NotAnswered, match="no processor answered within"):
            await client.list()

    with processor(answer) as fake:
        with_client(log, use, msgspec.structs.replace(SETTINGS, reads="log"))
    assert (len(answered), len(fake.commands)) == (1, SHARDS)
