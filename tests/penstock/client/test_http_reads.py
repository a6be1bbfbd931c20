"""Tests of HttpReads: finding the owner of a shard, any workflow id, missing processors."""

import asyncio

import pytest

from penstock.client import http_reads as client_side
from penstock.client.http_reads import HttpReads, quoted
from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import BadInput, NotAnswered, WorkflowNotFound
from penstock.schemas.records.registry import ShardOwned
from penstock.topics.log import Record
from penstock.topics.partitioner import partition_of
from penstock.topics.publishing import publish
from tests.penstock.conftest import ODD_IDS, SHARDS


def declare(log, topics, shard, address, *, released=False):
    owned = ShardOwned(shard=shard, transactional_id="t", address=address, released=released, at_ms=1)
    publish(log, [Record(topics.registry, 0, f"shard/{shard}".encode(), encode(owned))], 5)


def run_reads(log, topics, use):
    async def run():
        reads = HttpReads(log, topics, SHARDS)
        try:
            return await use(reads)
        finally:
            await reads.close()

    return asyncio.run(run())


@pytest.mark.parametrize("workflow_id", ODD_IDS)
def test_every_id_is_found(log, topics, stores, serve, workflow_id):
    """Ids with slashes, dots, blanks and other signs are one segment of the path."""
    address = serve(stores)
    for shard in range(SHARDS):
        declare(log, topics, shard, address)

    async def use(reads):
        return (
            await reads.describe(workflow_id),
            await reads.history(workflow_id),
            await reads.history(workflow_id, "r7"),
        )

    described, history, of_run = run_reads(log, topics, use)
    assert described["workflow_id"] == workflow_id
    assert (history[0]["of"], of_run[0]["of"]) == ("current", "r7")


def test_lists_of_all_shards(log, topics, stores, serve):
    """A list merges the runs of two processors, sorted by id, filtered and limited."""
    for shard, store in stores.items():
        declare(log, topics, shard, serve({shard: store}))
    order = sorted(ODD_IDS, key=str.encode)

    async def use(reads):
        found = [await reads.runs({"limit": "100"}), await reads.runs({"limit": "3", "after": order[1]})]
        return [*found, await reads.runs({"status": "failed"})]

    whole, page, failed = ([run["workflow_id"] for run in runs] for runs in run_reads(log, topics, use))
    assert whole == order
    assert page == order[2:5]
    assert set(failed) == set(ODD_IDS[1::2])


def test_a_list_without_one_shard(log, topics, stores, serve, monkeypatch):
    """A list to which one shard does not answer is an error, and not a shorter list."""
    monkeypatch.setattr(client_side, "ATTEMPT_DELAY_S", 0.01)
    monkeypatch.setattr(client_side, "ATTEMPTS_MAX", 2)
    silent = SHARDS - 1
    for shard, store in stores.items():
        declare(log, topics, shard, "http://127.0.0.1:9" if shard == silent else serve({shard: store}))
    with pytest.raises(NotAnswered, match="some shards of namespace trial"):
        run_reads(log, topics, lambda reads: reads.runs({}))


def test_an_unknown_id(log, topics, stores, serve):
    """An unknown id raises WorkflowNotFound."""
    address = serve(stores)
    for shard in range(SHARDS):
        declare(log, topics, shard, address)
    for what in ("describe", "history"):
        with pytest.raises(WorkflowNotFound, match="no run with the id missing"):
            run_reads(log, topics, lambda reads, what=what: getattr(reads, what)("missing"))


def test_a_shard_that_moved(log, topics, stores, serve):
    """After the owner changed, the registry is read again and the new owner answers."""
    shard = partition_of("plain", SHARDS)
    elsewhere = serve({})
    declare(log, topics, shard, elsewhere)

    async def use(reads):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(client_side, "ATTEMPTS_MAX", 1)
            with pytest.raises(NotAnswered, match=f"shard {shard}"):
                await reads.describe("plain")
        declare(log, topics, shard, serve(stores))
        return await reads.describe("plain")

    assert run_reads(log, topics, use)["workflow_id"] == "plain"


@pytest.mark.parametrize("declared", ["nothing", "released", "dead", "no address"])
def test_no_processor_serves(log, topics, declared, monkeypatch):
    """Without an owner that answers, the error names the shard and the command to run."""
    monkeypatch.setattr(client_side, "ATTEMPT_DELAY_S", 0.01)
    monkeypatch.setattr(client_side, "ATTEMPTS_MAX", 3)
    shard = partition_of("plain", SHARDS)
    if declared != "nothing":
        address = "" if declared == "no address" else "http://127.0.0.1:9"
        declare(log, topics, shard, address, released=declared == "released")
    with pytest.raises(NotAnswered, match=f"shard {shard} of namespace trial.*penstock processor"):
        run_reads(log, topics, lambda reads: reads.describe("plain"))
    with pytest.raises(NotAnswered, match="penstock processor"):
        run_reads(log, topics, lambda reads: reads.runs({}))


def test_a_list_that_is_refused(log, topics, stores, serve):
    """A request that a processor refuses raises its message, not NotAnswered."""
    address = serve(stores)
    for shard in range(SHARDS):
        declare(log, topics, shard, address)
    with pytest.raises(BadInput, match="limit must be a number from 1 to 10000"):
        run_reads(log, topics, lambda reads: reads.runs({"limit": "0"}))


def test_quoting():
    """Dots are quoted too, since `..` is a relative path."""
    assert quoted("../a b") == "%2E%2E%2Fa%20b"
