"""Do reads find the processor that owns a shard, whatever the id, and tell when nobody does?"""

import asyncio
import http.client
import json

import pytest

from penstock.api.read_server import ReadServer
from penstock.client import reads as client_side
from penstock.client.reads import Reads, quoted
from penstock.engine.core.keys import run_key
from penstock.engine.runtime import reads as store_side
from penstock.engine.store.memory import MemoryStore
from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import BadInput, NotAnswered, StoreError, WorkflowNotFound
from penstock.schemas.records.registry import ShardOwned
from penstock.topics.log import Record
from penstock.topics.partitioner import partition_of
from penstock.topics.publishing import publish
from tests.penstock.conftest import SHARDS

ODD_IDS = ["plain", "a/history", "../..", "..", "50% off?#x", "übergrößen-€", "a b+c", "new\nline", "last\n", "x" * 255]


@pytest.fixture
def stores(monkeypatch):
    """Two shards whose rows are the JSON that the reading functions would make of real ones."""

    def describe(store, workflow_id):
        row = store.get(run_key(workflow_id))
        return json.loads(row) if row else None

    def list_runs(store, *, status, workflow_type, limit, after):
        rows = [json.loads(value) for _, value in store.scan(b"R", b"S")]
        return [
            row for row in rows
            if row["workflow_id"] > after and status in (None, row["status"]) and workflow_type in (None, row["type"])
        ][:limit]  # fmt: skip

    def history(store, workflow_id, run_id=""):
        run = describe(store, workflow_id)
        return [{"number": 1, "event": "WorkflowStarted", "at_ms": 1, "of": run_id or "current"}] if run else []

    monkeypatch.setattr(store_side, "describe", describe)
    monkeypatch.setattr(store_side, "list_runs", list_runs)
    monkeypatch.setattr(store_side, "history", history)
    stores = {shard: MemoryStore() for shard in range(SHARDS)}
    for number, workflow_id in enumerate(ODD_IDS):
        run = {"workflow_id": workflow_id, "status": ["running", "failed"][number % 2], "type": "t"}
        stores[partition_of(workflow_id, SHARDS)].write({run_key(workflow_id): json.dumps(run).encode()})
    return stores


@pytest.fixture
def serve():
    servers = []

    def start(stores):
        server = ReadServer(stores if callable(stores) else lambda: stores, SHARDS)
        server.start()
        servers.append(server)
        return server.address

    yield start
    for server in servers:
        server.stop()


def declare(log, topics, shard, address, *, released=False):
    owned = ShardOwned(shard=shard, transactional_id="t", address=address, released=released, at_ms=1)
    publish(log, [Record(topics.registry, 0, f"shard/{shard}".encode(), encode(owned))], 5)


def asked(log, topics, use):
    async def run():
        reads = Reads(log, topics, SHARDS)
        try:
            return await use(reads)
        finally:
            await reads.close()

    return asyncio.run(run())


def get(address, path, host=None):
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=5)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


@pytest.mark.parametrize("workflow_id", ODD_IDS)
def test_every_id_is_found(log, topics, stores, serve, workflow_id):
    """Ids with slashes, dots, blanks and signs are one segment of the path, and never mistaken for another route."""
    address = serve(stores)
    for shard in range(SHARDS):
        declare(log, topics, shard, address)

    async def use(reads):
        return (
            await reads.describe(workflow_id),
            await reads.history(workflow_id),
            await reads.history(workflow_id, "r7"),
        )

    described, history, of_run = asked(log, topics, use)
    assert described["workflow_id"] == workflow_id
    assert (history[0]["of"], of_run[0]["of"]) == ("current", "r7")


def test_lists_of_all_shards(log, topics, stores, serve):
    """A list joins what two processors have, in the order of ids, filtered and cut to the limit."""
    for shard, store in stores.items():
        declare(log, topics, shard, serve({shard: store}))
    order = sorted(ODD_IDS, key=str.encode)

    async def use(reads):
        found = [await reads.runs({"limit": "100"}), await reads.runs({"limit": "3", "after": order[1]})]
        return [*found, await reads.runs({"status": "failed"})]

    whole, page, failed = ([run["workflow_id"] for run in runs] for runs in asked(log, topics, use))
    assert whole == order
    assert page == order[2:5]
    assert set(failed) == set(ODD_IDS[1::2])


def test_an_unknown_id(log, topics, stores, serve):
    """An id that no run has is told as such."""
    address = serve(stores)
    for shard in range(SHARDS):
        declare(log, topics, shard, address)
    for what in ("describe", "history"):
        with pytest.raises(WorkflowNotFound, match="no run with the id nobody"):
            asked(log, topics, lambda reads, what=what: getattr(reads, what)("nobody"))


def test_a_shard_that_moved(log, topics, stores, serve):
    """When the owner changed, the registry is read again and the new one answers."""
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

    assert asked(log, topics, use)["workflow_id"] == "plain"


@pytest.mark.parametrize("said", ["nothing", "released", "dead", "no address"])
def test_nobody_serves(log, topics, said, monkeypatch):
    """Without a living owner, the error names the shard and what must run."""
    monkeypatch.setattr(client_side, "ATTEMPT_DELAY_S", 0.01)
    monkeypatch.setattr(client_side, "ATTEMPTS_MAX", 3)
    shard = partition_of("plain", SHARDS)
    if said != "nothing":
        address = "" if said == "no address" else "http://127.0.0.1:9"
        declare(log, topics, shard, address, released=said == "released")
    with pytest.raises(NotAnswered, match=f"shard {shard} of namespace trial.*penstock processor"):
        asked(log, topics, lambda reads: reads.describe("plain"))
    with pytest.raises(NotAnswered, match="penstock processor"):
        asked(log, topics, lambda reads: reads.runs({}))


def test_who_is_not_the_owner(stores, serve):
    """A processor that does not own the id's shard answers 421 and names the shard."""
    shard = partition_of("plain", SHARDS)
    status, body = get(serve({1 - shard: stores[1 - shard]}), "/v1/workflows/plain")
    assert (status, json.loads(body)["error"]) == (421, "not_owned")
    assert f"shard {shard}" in json.loads(body)["message"]


def test_a_store_that_closes(serve):
    """A store that is closed under a request is 503, which clients try again."""

    class Closing(MemoryStore):
        def get(self, key):
            raise StoreError("closed.")

    status, _ = get(serve({0: Closing(), 1: Closing()}), "/v1/workflows/x")
    assert status == 503


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1000000"])
def test_a_bad_limit(stores, serve, limit):
    """A limit that is none is told with what it may be."""
    status, body = get(serve(stores), f"/v1/workflows?limit={limit}")
    assert (status, json.loads(body)["error"]) == (400, "bad_request")


def test_a_list_that_is_refused(log, topics, stores, serve):
    """What a processor refuses is told in its own words, and not as if nobody served."""
    address = serve(stores)
    for shard in range(SHARDS):
        declare(log, topics, shard, address)
    with pytest.raises(BadInput, match="limit must be a number from 1 to 10000"):
        asked(log, topics, lambda reads: reads.runs({"limit": "0"}))


def test_other_paths(stores, serve):
    """What is not there is 404 as JSON; health names the shards."""
    address = serve(stores)
    assert get(address, "/v1/workflows/a/b/c")[0] == 404
    assert get(address, "/v1/workflows/plain/queries")[0] == 404
    assert get(address, "/elsewhere")[0] == 404
    assert get(address, "/healthz") == (200, b'{"shards":[0,1]}')


def test_web_pages_are_kept_out(stores, serve):
    """A loopback server answers to loopback names only, so that a web page cannot reach it under a name of its own."""
    address = serve(stores)
    assert get(address, "/healthz", host="evil.example")[0] == 400
    assert get(address, "/healthz", host="localhost")[0] == 200


def test_stopping(stores):
    """A stopped server lets its port go, and may be stopped twice or before it started."""
    server = ReadServer(lambda: stores, SHARDS)
    server.start()
    server.stop()
    server.stop()
    with pytest.raises(OSError):
        get(server.address, "/healthz")
    never = ReadServer(lambda: stores, SHARDS)
    never.stop()


def test_quoting():
    """Dots are quoted too: two of them alone would be taken as a direction."""
    assert quoted("../a b") == "%2E%2E%2Fa%20b"
