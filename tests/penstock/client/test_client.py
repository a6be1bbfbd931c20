"""Tests of Client: starts and their arguments."""

import asyncio
import time
import uuid

import msgspec
import pytest

from penstock.client.client import Client
from penstock.schemas.errors import (
    BadInput,
    BadName,
    NotAnswered,
    PayloadTooLarge,
    UserError,
)
from penstock.schemas.records.run import StartWorkflow
from penstock.topics.partitioner import partition_of
from tests.penstock.client.helpers import (
    SETTINGS,
    Parcel,
    accepted,
    agreeable,
    an_activity,
    parcel_of,
    rejected,
    with_client,
)
from tests.penstock.conftest import SHARDS


def test_start_and_result(log, processor):
    """A start sends type, input, id and a UUIDv7 to the id's shard, and the result is of the declared type."""

    async def use(client):
        run = await client.start(parcel_of("a", weight=2.5), id="order-7")
        return run, await run.result(timeout=10)

    with processor(agreeable) as fake:
        run, result = with_client(log, use)
    assert result == Parcel(2.5)
    shard, start = fake.commands[0]
    assert isinstance(start, StartWorkflow)
    assert shard == partition_of("order-7", SHARDS)
    assert (start.workflow_id, start.workflow_type, start.on_existing) == ("order-7", "client-trial", "use_existing")
    assert msgspec.json.decode(start.input) == {"order": "a", "weight": 2.5}
    assert uuid.UUID(start.message_id).version == 7
    assert (run.id, run.run_id, run.existing) == ("order-7", start.message_id, False)
    assert fake.commands[1][1].run_id == run.run_id


def test_ids_of_starts(log, processor):
    """The id is the argument, else that of the call, else random."""

    async def use(client):
        return [
            (await client.start(parcel_of("a", 1).options(id="x"), id="y")).id,
            (await client.start(parcel_of("a", 1).options(id="x"))).id,
            (await client.start(parcel_of("a", 1))).id,
            (await client.start(parcel_of("a", 1))).id,
        ]

    with processor(agreeable):
        given, own, *random = with_client(log, use)
    assert (given, own) == ("y", "x")
    assert len({*random, given, own}) == 4


def test_joining(log, processor):
    """A start that joined a run has `existing` set."""

    async def use(client):
        return await client.start(parcel_of("a", 1), id="x")

    with processor(lambda command: [accepted(command, existing=True)]):
        assert with_client(log, use).existing


def test_joining_with_another_input(log, processor, caplog):
    """A handle has the processor's note about its start, which is also logged."""

    async def use(client):
        return await client.start(parcel_of("a", 1), id="x")

    with processor(lambda command: [accepted(command, existing=True, note="it has another input")]):
        assert with_client(log, use).note == "it has another input"
    assert "note on the start of x: it has another input." in caplog.text


def test_a_start_with_a_timeout(log):
    """`timeout` limits the wait of one start, and of many starts together."""

    async def use(client):
        with pytest.raises(NotAnswered, match=r"within 0\.\d+ s"):
            await client.start(parcel_of("a", 1), id="x", timeout="200ms")
        with pytest.raises(NotAnswered, match=r"within 0\.\d+ s"):
            await client.start_by_name("parcel_of", timeout=0.2)
        starts = [("parcel_of", b"null", f"m{number}") for number in range(3)]
        return [one.error async for one in client.start_many(starts, in_flight=1, timeout="200ms")]

    began_s = time.monotonic()
    errors = with_client(log, use)
    assert time.monotonic() - began_s < 5
    assert [type(error) for error in errors] == [NotAnswered] * 3


def test_many_starts(log, processor):
    """A thousand starts are all answered, at most in_flight at once, and one refusal stops no other."""
    in_flight, most = 0, 0

    def answer(command):
        return [rejected(command, "bad_input", "too heavy.")] if command.workflow_id == "n-13" else [accepted(command)]

    async def use(client):
        nonlocal in_flight, most
        publish = client.exchange.publish

        async def counted(command, shard=None):
            nonlocal in_flight, most
            in_flight += 1
            most = max(most, in_flight)
            await publish(command, shard)

        client.exchange.publish = counted
        found = []
        starts = (("client-trial", b"null", f"n-{number}") for number in range(1_000))
        async for one in client.start_many(starts, in_flight=50):
            in_flight -= 1
            found.append(one)
        return found

    with processor(answer) as fake:
        found = with_client(log, use)
    assert (
        {one.id for one in found}
        == {f"n-{number}" for number in range(1_000)}
        == {command.workflow_id for _, command in fake.commands}
    )
    assert [(one.id, str(one.error)) for one in found if one.run is None] == [("n-13", "too heavy.")]
    assert most <= 50


def test_many_starts_with_invalid_arguments(log, processor):
    """Among many starts an invalid argument is the error of its own start and stops no other."""

    async def use(client):
        return [one async for one in client.start_many([("t", b"1", "a"), ("t", b"1", 7), ("t", "1", "c")])]

    with processor(agreeable):
        found = {one.id: one.error for one in with_client(log, use)}
    assert found["a"] is None
    assert isinstance(found[7], BadName) and isinstance(found["c"], BadInput)


def test_invalid_arguments_are_not_sent(log):
    """Invalid ids, signals without a name, what is too large and calls of activities are refused before the log."""

    async def use(client):
        with pytest.raises(BadName):
            await client.start(parcel_of("a", 1), id="")
        with pytest.raises(BadName):
            client.get("x" * 256)
        with pytest.raises(BadName, match="signal's name is empty"):
            await client.signal("x", "")
        with pytest.raises(PayloadTooLarge, match="client-trial"):
            await client.start_by_name("client-trial", b'"' + b"x" * 1_000_000 + b'"')
        for send in (client.cancel, client.terminate):
            with pytest.raises(PayloadTooLarge, match="The reason has 2,001 characters"):
                await send("x", "y" * 2_001)
        call = an_activity()
        with pytest.raises(BadInput, match=r"fulfil\(order\)"):
            await client.start(call)
        call.close()

    with_client(log, use)
    assert all(
        end == 0 for _, end in log.ends([("penstock.trial.commands", shard) for shard in range(SHARDS)]).values()
    )


def test_a_client_that_is_not_open(log):
    """A client outside of its block raises an error that shows its use."""
    client = Client(log=log, settings=SETTINGS)
    with pytest.raises(UserError, match="async with"):
        asyncio.run(client.cancel("x"))


def test_bounds_and_retries_of_a_start(log, processor):
    """Timeouts and retries are those of the start, else those of the call."""

    async def use(client):
        await client.start(parcel_of("a", 1), run_timeout="10s", execution_timeout="1m", retries=2, backoff=["1s"])
        await client.start(parcel_of("a", 1).options(run_timeout="5s", retries=1))
        await client.start(parcel_of("a", 1))

    with processor(agreeable) as fake:
        with_client(log, use)
    given, called, plain = (start for _, start in fake.commands)
    assert (given.run_timeout_ms, given.execution_timeout_ms) == (10_000, 60_000)
    assert (given.retry.retries_max, given.retry.delays_ms) == (2, (1_000,))
    assert (called.run_timeout_ms, called.retry.retries_max) == (5_000, 1)
    assert (plain.run_timeout_ms, plain.execution_timeout_ms, plain.retry) == (0, 0, None)
