"""Tests of awaited results: one request of a client for each run."""

import asyncio

import pytest

from penstock.client import connection as connection_module
from penstock.schemas.errors import BadName, NotAnswered, StillRunning, WorkflowNotFound
from penstock.schemas.records.run import AwaitResult
from tests.penstock.client.helpers import accepted, closed, rejected, with_client


def awaited(fake):
    return [command for _, command in fake.commands if isinstance(command, AwaitResult)]


async def polls(client, id, times):
    for _ in range(times):
        with pytest.raises(StillRunning):
            await client.result(id, timeout=0.001)


def test_polls_share_one_request(log, processor):
    """However often a client polls a result, it asks the processor once, and the next poll after the end returns it."""

    async def use(client):
        await polls(client, "x", 30)
        fake.reply(client.exchange.reply_to, closed(awaited(fake)[0], result=b"7"))
        await asyncio.sleep(0.3)
        return await client.result("x", timeout=5)

    with processor(lambda command: []) as fake:
        assert with_client(log, use) == 7
    assert len(awaited(fake)) == 1
    assert awaited(fake)[0].timeout_ms >= 60_000


def test_calls_at_once_share_one_request(log, processor):
    """Many calls that wait for one run at once all get its result by one request."""

    async def use(client):
        return await asyncio.gather(*(client.result("x") for _ in range(20)))

    with processor(lambda command: [closed(command, result=b"1")]) as fake:
        assert with_client(log, use) == [1] * 20
    assert len(awaited(fake)) == 1


def test_runs_and_clients_have_requests_of_their_own(log, processor):
    """Requests for two runs, or of two clients, have different message ids."""

    async def use(client):
        await polls(client, "x", 1)
        await polls(client, "y", 1)

    with processor(lambda command: []) as fake:
        for _ in range(2):
            with_client(log, use)
    assert len({command.message_id for command in awaited(fake)}) == len(awaited(fake)) == 4


def test_a_refusal_is_not_remembered(log, processor):
    """After the refusal of an unknown run the next call asks again."""
    answers = [lambda command: rejected(command), lambda command: closed(command, result=b"3")]

    async def use(client):
        with pytest.raises(WorkflowNotFound):
            await client.result("x")
        return await client.result("x")

    with processor(lambda command: [answers.pop(0)(command)]):
        assert with_client(log, use) == 3


def test_a_signal_sent_again_has_the_id_it_was_given(log, processor, monkeypatch):
    """After NotAnswered a signal with an id of the caller's choice is sent again as the same message, by every client
    method; two at once are both answered."""
    monkeypatch.setattr(connection_module, "ANSWER_TIMEOUT_S", 0.3)
    deaf = [True]

    async def use(client):
        run = client.get("x")
        with pytest.raises(NotAnswered):
            await run.signal("go", 1, id="pay-1")
        deaf.clear()
        await run.signal("go", 1, id="pay-1")
        await asyncio.gather(*(client.signal("x", "go", 1, signal_id="pay-1") for _ in range(3)))
        await run.signal("go", 1)

    with processor(lambda command: [] if deaf else [accepted(command)]) as fake:
        with_client(log, use)
    ids = [command.message_id for _, command in fake.commands]
    assert ids[:-1] == ["pay-1"] * 5
    assert ids[-1] != "pay-1"


@pytest.mark.parametrize("id", ["", "two\nlines", "x" * 256, 7])
def test_an_id_that_a_processor_would_replace_is_refused(log, id):
    """An id of a signal that is empty, not printable, too long or no text is refused before anything is sent."""

    async def use(client):
        with pytest.raises(BadName, match="id"):
            await client.get("x").signal("go", id=id)

    with_client(log, use)
