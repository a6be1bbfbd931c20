"""Tests of Exchange: matching of replies, errors of the log."""

import msgspec
import pytest

from penstock.client import connection as connection_module
from penstock.schemas.errors import (
    LogUnavailable,
    NotAnswered,
)
from tests.penstock.client.helpers import (
    accepted,
    parcel_of,
    with_client,
)


def test_replies_to_others(log, processor):
    """Replies to other clients, repeated replies and bytes that are no reply are ignored."""

    def answer(command):
        other = msgspec.structs.replace(accepted(command), message_id="another", run_id="wrong")
        return [other, b"\x00rubbish", accepted(command), msgspec.structs.replace(accepted(command), run_id="too late")]

    async def use(client):
        first = await client.start(parcel_of("a", 1), id="x")
        return first.run_id, (await client.start(parcel_of("a", 1), id="y")).run_id

    with processor(answer) as fake:
        run_ids = with_client(log, use)
    assert run_ids == tuple(command.message_id for _, command in fake.commands)


def test_a_log_that_refuses(log, monkeypatch):
    """A command that the log refuses raises the log's error; the next one is sent."""
    monkeypatch.setattr(connection_module, "ANSWER_TIMEOUT_S", 0.2)
    broken = iter([True])
    publisher_of = log.publisher

    def publisher():
        made = publisher_of()
        send = made.send

        def failing(record, on_done=None):
            if next(broken, False):
                raise LogUnavailable("the log is away.")
            send(record, on_done)

        made.send = failing
        return made

    monkeypatch.setattr(log, "publisher", publisher)

    async def use(client):
        with pytest.raises(LogUnavailable, match="away"):
            await client.cancel("x")
        with pytest.raises(NotAnswered):
            await client.cancel("x")

    with_client(log, use)
