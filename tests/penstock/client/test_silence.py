"""Does a caller hear within seconds that nobody answers, once, and what helps?"""

import asyncio

import pytest
import structlog
from click.testing import CliRunner

from penstock.cli.root import penstock
from penstock.client import client as client_module
from penstock.client import reads
from penstock.client.client import Client
from penstock.client.silence import Silence
from penstock.client.sync import SyncClient
from penstock.config import Settings
from penstock.observe.logs import route_to_logging
from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import NotAnswered, StillRunning
from penstock.schemas.records.registry import ShardOwned
from penstock.schemas.records.replies import Accepted, RunClosed
from penstock.schemas.records.run import AwaitResult
from penstock.topics.log import Record
from tests.penstock.conftest import SHARDS

SETTINGS = Settings(log="embedded::memory:", namespace="trial")
UNANSWERED = "no processor has answered"
UNSERVED = "no processor that has x can be reached"


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(Silence, "after_s", 0.1)
    monkeypatch.setattr(Silence, "look_every_s", 0.1)
    monkeypatch.setattr(client_module, "ANSWER_TIMEOUT_S", 0.6)


def accepted(command):
    return Accepted(message_id=command.message_id, workflow_id=command.workflow_id, run_id="r")


def closed(command):
    return RunClosed(
        message_id=command.message_id, workflow_id=command.workflow_id, run_id="r", status="completed", result=b"7",
        failure=None,
    )  # fmt: skip


@pytest.fixture
def lines():
    """The lines of log of the test, whatever was configured before."""
    route_to_logging()
    with structlog.testing.capture_logs() as captured:
        yield captured


def heard(lines):
    return [line["event"] for line in lines if line["log_level"] == "warning"]


def with_client(log, use):
    async def run():
        async with Client(log=log, settings=SETTINGS) as client:
            return await asyncio.wait_for(use(client), 20)

    return asyncio.run(run())


def test_orders_that_nobody_answers(log, lines):
    """However many orders go unanswered at once, one warning tells what is waited for, how long yet and what helps."""

    async def use(client):
        found = [one async for one in client.start_many(("t", b"null", f"n-{number}") for number in range(5))]
        assert {type(one.error) for one in found} == {NotAnswered}

    with_client(log, use)
    (line,) = heard(lines)
    assert f"{UNANSWERED} the start of n-0 and 4 more for 0.1 s" in line
    assert "up to 1 s more" in line
    assert "start `penstock dev …` or `penstock processor …`" in line
    assert "namespace trial" in line


def test_silence_after_an_answer(log, processor, lines):
    """A silence that follows an answer is told anew."""

    async def use(client):
        for order in (client.cancel, client.terminate):
            with pytest.raises(NotAnswered):
                await order("quiet")
            await order("loud")

    with processor(lambda command: [accepted(command)] if command.workflow_id == "loud" else []):
        with_client(log, use)
    assert [
        f"{UNANSWERED} the {what} of quiet" in line
        for what, line in zip(["cancelling", "terminating"], heard(lines), strict=True)
    ] == [True, True]


def test_an_answer_in_time(log, processor, lines):
    """Who is answered hears no warning."""

    async def use(client):
        await client.start_by_name("t", id="x")
        await asyncio.sleep(0.3)

    with processor(lambda command: [accepted(command)]):
        with_client(log, use)
    assert heard(lines) == []


def test_a_result_that_nobody_can_give(log, lines):
    """Who waits for a result is warned when nobody serves the run, once, and waits on."""

    async def use(client):
        client.reads.is_served = nobody
        with pytest.raises(StillRunning):
            await client.result("x", timeout="1s")
        unbounded = asyncio.create_task(client.result("x"))
        await asyncio.sleep(0.5)
        unbounded.cancel()

    async def nobody(_, *, here, attempts=0):
        return False

    with_client(log, use)
    (line,) = heard(lines)
    assert f"{UNSERVED}; waiting up to 1 s more" in line


def test_a_run_that_goes_on(log, processor, lines):
    """A result that is long in coming is no silence as long as the run is served; many waiters look in turn."""
    looks = 0

    async def use(client):
        client.reads.is_served = served
        waiting = [asyncio.create_task(client.result("x", timeout="1s")) for _ in range(50)]
        assert [type(one) for one in await asyncio.gather(*waiting, return_exceptions=True)] == [StillRunning] * 50

    async def served(_, *, here, attempts=0):
        nonlocal looks
        looks += not attempts  # each looks once more when its time is over
        return True

    with processor(lambda command: []):
        with_client(log, use)
    assert heard(lines) == []
    assert 1 <= looks <= 12


def test_a_run_whose_processor_goes(log, processor, lines):
    """A processor that goes while a result is waited for is noticed, and one that comes back gives the result."""
    served = iter([True, False, False])

    async def use(client):
        async def is_served(_, *, here):
            return next(served, True)

        client.reads.is_served = is_served
        waiting = asyncio.create_task(client.result("x"))
        while not heard(lines):
            await asyncio.sleep(0.01)
        fake.reply(client.exchange.reply_to, closed(fake.commands[0][1]))
        return await waiting

    with processor(lambda command: []) as fake:
        assert with_client(log, use) == 7
    assert isinstance(fake.commands[0][1], AwaitResult)
    (line,) = heard(lines)
    assert f"{UNSERVED}; waiting without end" in line


@pytest.mark.parametrize(
    ("address", "here", "served"),
    [("", True, False), ("", False, False), ("http://127.0.0.1:1", True, False), ("http://127.0.0.1:1", False, True)],
)
def test_processors_elsewhere(log, topics, monkeypatch, address, here, served):
    """A processor that declared itself, and whose reads are out of reach, may be at work on another machine only."""
    monkeypatch.setattr(reads, "ATTEMPT_DELAY_S", 0)
    publisher = log.publisher()
    for shard in range(SHARDS) if address else ():
        owned = ShardOwned(shard=shard, transactional_id="p", address=address, released=False, at_ms=1)
        publisher.send(Record(topics.registry, 0, b"%d" % shard, encode(owned)))
    publisher.close()

    async def use(client):
        return await client.reads.is_served("x", here=here)

    assert with_client(log, use) is served


def test_the_sync_client(log, lines):
    """The synchronous client warns as the other does."""
    with SyncClient(log=log, settings=SETTINGS) as client, pytest.raises(NotAnswered):
        client.signal("x", "go")
    (line,) = heard(lines)
    assert f"{UNANSWERED} the signal to x" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["start", "t", "--id", "x"], "the start of x"),
        (["signal", "x", "go"], "the signal to x"),
        (["cancel", "x"], "the cancelling of x"),
        (["terminate", "x"], "the terminating of x"),
        (["retry", "x"], "the retrying of x"),
    ],
)
def test_commands_that_nobody_answers(tmp_path, words, said):
    """A command tells of the silence in one sentence on stderr, before the one that ends it; stdout stays empty."""
    log = ["--log", f"embedded:{tmp_path}/log"]
    assert CliRunner().invoke(penstock, ["topics", "apply", *log]).exit_code == 0
    ended = CliRunner().invoke(penstock, [*words, *log])
    assert (ended.exit_code, ended.stdout) == (3, "")
    first, last = ended.stderr.splitlines()
    assert first.startswith(f"penstock: {UNANSWERED} {said} for 0.1 s; waiting up to ")
    assert "is in the log" in last


def test_waiting_for_a_result_that_nobody_can_give(tmp_path):
    """`result` tells on stderr that nobody serves the run, though the log is there."""
    log = ["--log", f"embedded:{tmp_path}/log"]
    assert CliRunner().invoke(penstock, ["topics", "apply", *log]).exit_code == 0
    ended = CliRunner().invoke(penstock, ["result", "x", "--timeout", "5s", *log])
    assert (ended.exit_code, ended.stdout) == (5, "")
    first, last = ended.stderr.splitlines()
    assert first.startswith(f"penstock: {UNSERVED}")
    assert "not known whether x closed" in last
