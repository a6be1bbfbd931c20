"""Tests of the warnings about missing replies."""

import asyncio

import pytest
import structlog
from click.testing import CliRunner

from penstock.cli.root import penstock
from penstock.client import connection as connection_module
from penstock.client import http_reads
from penstock.client.client import Client
from penstock.client.sync import SyncClient
from penstock.client.unanswered import _COMMAND_WORDS, Unanswered
from penstock.config import Settings
from penstock.observe.logs import route_to_logging
from penstock.schemas.encoding.codec import encode
from penstock.schemas.encoding.record_types import COMMANDS
from penstock.schemas.errors import NotAnswered, StillRunning
from penstock.schemas.records.registry import ShardOwned
from penstock.schemas.records.replies import Accepted, RunClosed
from penstock.schemas.records.run import AwaitResult
from penstock.topics.log import Record
from tests.penstock.conftest import SHARDS

SETTINGS = Settings(log="embedded::memory:", namespace="trial")
UNANSWERED = "no processor has answered"
UNSERVED = "no processor that serves x can be reached"


@pytest.fixture(autouse=True)
def _short_times(monkeypatch):
    monkeypatch.setattr(Unanswered, "after_s", 0.1)
    monkeypatch.setattr(Unanswered, "check_every_s", 0.1)
    monkeypatch.setattr(connection_module, "ANSWER_TIMEOUT_S", 0.6)


def accepted(command):
    return Accepted(message_id=command.message_id, workflow_id=command.workflow_id, run_id="r")


def closed(command):
    return RunClosed(
        message_id=command.message_id, workflow_id=command.workflow_id, run_id="r", status="completed", result=b"7",
        failure=None,
    )  # fmt: skip


@pytest.fixture
def lines():
    """Capture the log lines of the test, whatever was configured before."""
    route_to_logging()
    with structlog.testing.capture_logs() as captured:
        yield captured


def warnings_of(lines):
    return [line["event"] for line in lines if line["log_level"] == "warning"]


def with_client(log, use):
    async def run():
        async with Client(log=log, settings=SETTINGS) as client:
            return await asyncio.wait_for(use(client), 20)

    return asyncio.run(run())


def test_unanswered_commands(log, lines):
    """Several unanswered commands cause one warning with the commands, the remaining time and the remedy."""

    async def use(client):
        found = [one async for one in client.start_many(("t", b"null", f"n-{number}") for number in range(5))]
        assert {type(one.error) for one in found} == {NotAnswered}

    with_client(log, use)
    (line,) = warnings_of(lines)
    assert f"{UNANSWERED} the start of n-0 and 4 more for 0.1 s" in line
    assert "up to 1 s more" in line
    assert "start `penstock dev …` or `penstock processor …`" in line
    assert "namespace trial" in line


def test_a_second_warning(log, processor, lines):
    """After a reply, the next unanswered command causes a new warning."""

    async def use(client):
        for send in (client.cancel, client.terminate):
            with pytest.raises(NotAnswered):
                await send("quiet")
            await send("loud")

    with processor(lambda command: [accepted(command)] if command.workflow_id == "loud" else []):
        with_client(log, use)
    assert [
        f"{UNANSWERED} the {what} of quiet" in line
        for what, line in zip(["cancellation", "termination"], warnings_of(lines), strict=True)
    ] == [True, True]


def test_an_answer_in_time(log, processor, lines):
    """A reply in time causes no warning."""

    async def use(client):
        await client.start_by_name("t", id="x")
        await asyncio.sleep(0.3)

    with processor(lambda command: [accepted(command)]):
        with_client(log, use)
    assert warnings_of(lines) == []


def test_a_result_without_a_processor(log, lines):
    """Awaiting a result that no processor serves causes one warning, and the wait continues."""

    async def use(client):
        client.reads.is_served = not_served
        with pytest.raises(StillRunning):
            await client.result("x", timeout="1s")
        unbounded = asyncio.create_task(client.result("x"))
        await asyncio.sleep(0.5)
        unbounded.cancel()

    async def not_served(_, *, here, attempts=0):
        return False

    with_client(log, use)
    (line,) = warnings_of(lines)
    assert f"{UNSERVED}; waiting up to 1 s more" in line


def test_a_run_that_stays_open(log, processor, lines):
    """A served run causes no warning however long it takes; many waiters share the checks."""
    checks = 0

    async def use(client):
        client.reads.is_served = served
        waiting = [asyncio.create_task(client.result("x", timeout="1s")) for _ in range(50)]
        assert [type(one) for one in await asyncio.gather(*waiting, return_exceptions=True)] == [StillRunning] * 50

    async def served(_, *, here, attempts=0):
        nonlocal checks
        checks += not attempts  # each result checks once more when its timeout ends
        return True

    with processor(lambda command: []):
        with_client(log, use)
    assert warnings_of(lines) == []
    assert 1 <= checks <= 12


def test_a_processor_that_stops(log, processor, lines):
    """A processor that stops during a wait causes a warning; the result arrives when one runs again."""
    served = iter([True, False, False])

    async def use(client):
        async def is_served(_, *, here):
            return next(served, True)

        client.reads.is_served = is_served
        waiting = asyncio.create_task(client.result("x"))
        while not warnings_of(lines):
            await asyncio.sleep(0.01)
        fake.reply(client.exchange.reply_to, closed(fake.commands[0][1]))
        return await waiting

    with processor(lambda command: []) as fake:
        assert with_client(log, use) == 7
    assert isinstance(fake.commands[0][1], AwaitResult)
    (line,) = warnings_of(lines)
    assert f"{UNSERVED}; waiting without a time limit" in line


@pytest.mark.parametrize(
    ("address", "here", "served"),
    [("", True, False), ("", False, False), ("http://127.0.0.1:1", True, False), ("http://127.0.0.1:1", False, True)],
)
def test_processors_on_other_machines(log, topics, monkeypatch, address, here, served):
    """A declared processor that does not answer reads counts only if processors may run on other machines."""
    monkeypatch.setattr(http_reads, "ATTEMPT_DELAY_S", 0)
    publisher = log.publisher()
    for shard in range(SHARDS) if address else ():
        owned = ShardOwned(shard=shard, transactional_id="p", address=address, released=False, at_ms=1)
        publisher.send(Record(topics.registry, 0, b"%d" % shard, encode(owned)))
    publisher.close()

    async def use(client):
        return await client.reads.is_served("x", here=here)

    assert with_client(log, use) is served


def test_the_sync_client(log, lines):
    """SyncClient emits the same warnings."""
    with SyncClient(log=log, settings=SETTINGS) as client, pytest.raises(NotAnswered):
        client.signal("x", "go")
    (line,) = warnings_of(lines)
    assert f"{UNANSWERED} the signal to x" in line


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["start", "t", "--id", "x"], "the start of x"),
        (["signal", "x", "go"], "the signal to x"),
        (["cancel", "x"], "the cancellation of x"),
        (["terminate", "x"], "the termination of x"),
        (["unblock", "x"], "the unblocking of x"),
    ],
)
def test_unanswered_verbs(tmp_path, words, command):
    """A verb prints the warning on stderr before the final error; stdout stays empty."""
    log = ["--log", f"embedded:{tmp_path}/log"]
    assert CliRunner().invoke(penstock, ["topics", "apply", *log]).exit_code == 0
    ended = CliRunner().invoke(penstock, [*words, *log])
    assert (ended.exit_code, ended.stdout) == (3, "")
    first, last = ended.stderr.splitlines()
    assert first.startswith(f"penstock: {UNANSWERED} {command} for 0.1 s; waiting up to ")
    assert "is in the log" in last


def test_the_verb_result_without_a_processor(tmp_path):
    """`result` warns on stderr that no processor serves the run."""
    log = ["--log", f"embedded:{tmp_path}/log"]
    assert CliRunner().invoke(penstock, ["topics", "apply", *log]).exit_code == 0
    ended = CliRunner().invoke(penstock, ["result", "x", "--timeout", "5s", *log])
    assert (ended.exit_code, ended.stdout) == (5, "")
    first, last = ended.stderr.splitlines()
    assert first.startswith(f"penstock: {UNSERVED}")
    assert "not known whether x closed" in last


def test_every_command_of_a_client_is_named():
    """The warning has words for each command that a client waits for, instead of `a command to`."""
    from_clients = {name for name, kind in COMMANDS.items() if not kind.FROM_SHARDS and name != "AwaitResult"}
    assert _COMMAND_WORDS.keys() == from_clients
