"""Tests of `client.versions` without a log: what the answers of several shards make together."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.client.log_reads import LogReads
from penstock.client.sync import SyncClient
from penstock.client.versions import Versions
from penstock.engine.authoring.workflow import workflow
from penstock.hosting.engine import Engine
from penstock.schemas.errors import BadInput, BadName, LogUnavailable, NotAnswered, UnknownWorkflowType
from penstock.schemas.records.kinds import Command
from penstock.schemas.records.replies import Accepted, ReadAnswered, Rejected

ACCEPTED = Accepted(message_id="m", workflow_id="", run_id="")
NOTED = Accepted(message_id="m", workflow_id="", run_id="", note="not yet")
REFUSED = Rejected(message_id="m", workflow_id="", reason="unknown_type", message="No such type.")
SILENT = NotAnswered("no processor answered within 30 s: start one.")


@workflow(name="client-versions", version=2)
async def second() -> None: ...


@workflow
class ClientVersions:
    @workflow.run
    async def run(self) -> None: ...


class Exchange:
    """Answers each shard's command with one of these."""

    reply_to = 0

    def __init__(self, *answers: Any) -> None:
        self.shards, self._answers = len(answers), answers
        self.asked: dict[int, Command] = {}

    async def ask(self, command: Command, timeout_s: float | None, *, at_once: bool = True, shard: int = 0) -> Any:
        self.asked[shard] = command
        answer = self._answers[shard]
        if isinstance(answer, Exception):
            raise answer
        return answer


def versions_of(exchange: Exchange) -> Versions:
    ids = iter(range(100))
    connection: Any = SimpleNamespace(
        exchange=exchange, reply_address=lambda: {"message_id": f"m-{next(ids)}", "reply_to": 0}
    )
    return Versions(connection)


def test_each_shard_is_asked_with_an_id_of_its_own() -> None:
    """Every shard gets the command, with its own message id, and the notes are joined once each."""
    exchange = Exchange(ACCEPTED, NOTED, NOTED)
    note = asyncio.run(versions_of(exchange).set(second, 2, "10%", by="ann"))
    assert note == "not yet"
    found: list[Any] = list(exchange.asked.values())
    assert {command.message_id for command in found} == {"m-0", "m-1", "m-2"}
    assert {(one.workflow_type, one.version, one.share, one.by) for one in found} == {
        ("client-versions", 2, 1_000, "ann")
    }


def test_shards_that_do_not_answer_are_named() -> None:
    """If some shards answer, the error names the others, and says that those have the share."""
    exchange = Exchange(ACCEPTED, SILENT, ACCEPTED, SILENT)
    with pytest.raises(NotAnswered) as raised:
        asyncio.run(versions_of(exchange).set("fulfil", 2, "10%"))
    assert str(raised.value) == (
        "shards 1, 3 of 4 did not answer, the others have the share of version 2 of fulfil: no processor answered "
        "within 30 s: start one. `penstock versions list fulfil` shows who has it."
    )


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ((SILENT, SILENT), NotAnswered),
        ((ACCEPTED, REFUSED), UnknownWorkflowType),
        ((SILENT, LogUnavailable("gone")), LogUnavailable),
    ],
)
def test_errors_of_shards(answers: tuple[Any, ...], error: type[Exception]) -> None:
    """A refusal and an error of the log are raised as they are, and so is the silence of all shards."""
    with pytest.raises(error):
        asyncio.run(versions_of(Exchange(*answers)).set("fulfil", 2, None))


@pytest.mark.parametrize(
    ("type", "version", "share", "error"),
    [("fulfil", 2, "110%", BadInput), ("fulfil", 0, "1%", BadInput), ("", 1, "1%", BadName), (7, 1, "1%", BadName)],
)
def test_a_mistake_is_refused_before_anything_is_sent(type: Any, version: int, share: str, error: Any) -> None:
    """A wrong type, version or share raises, and no shard is asked."""
    exchange = Exchange(ACCEPTED)
    with pytest.raises(error):
        asyncio.run(versions_of(exchange).set(type, version, share))
    assert not exchange.asked


def test_a_workflow_class_names_its_type() -> None:
    """The type may be given by the class of a workflow."""
    exchange = Exchange(ACCEPTED)
    asyncio.run(versions_of(exchange).set(ClientVersions, 1, 1.0))
    command: Any = exchange.asked[0]
    assert command.workflow_type == "ClientVersions"


def test_the_sync_client_sets_and_shows_shares(tmp_path: Path) -> None:
    """SyncClient sets and returns shares as Client does."""
    url = f"embedded:{tmp_path}/log"

    def use() -> tuple[str, list[dict[str, Any]]]:
        with SyncClient(url) as client:
            note = client.versions.set(second, 3, "12.5%", by="ann", reason="canary")
            return note, client.versions.shares(second)

    async def run() -> tuple[str, list[dict[str, Any]]]:
        async with Engine([second], url):
            return await asyncio.to_thread(use)

    note, shares = asyncio.run(asyncio.wait_for(run(), 60))
    assert "hosts version 3 of client-versions (hosted: 2)" in note
    assert shares == [{"type": "client-versions", "version": 3, "share": "12.5%", "shards": [0]}]


def test_shares_are_shown_with_their_shards() -> None:
    """Where shards differ, each share is listed with the shards that have it."""

    def page(shares: bytes) -> ReadAnswered:
        return ReadAnswered(message_id="m", workflow_id="", shard=0, data=b'{"shares": [%b]}' % shares)

    one = b'{"type": "t", "version": 2, "share": 1000}'
    exchange: Any = Exchange(page(one), page(b'{"type": "t", "version": 2, "share": 0}'), page(one), page(b""))
    connection: Any = SimpleNamespace(reads=LogReads(exchange))
    assert asyncio.run(Versions(connection).shares("t")) == [
        {"type": "t", "version": 2, "share": "0%", "shards": [1]},
        {"type": "t", "version": 2, "share": "10%", "shards": [0, 2]},
    ]
