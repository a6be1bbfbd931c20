"""Tests of the read server's routes."""

import json

import pytest

from penstock.engine.store.memory import MemoryStore
from penstock.schemas.errors import StoreError
from penstock.topics.partitioner import partition_of
from tests.penstock.api.http_get import get
from tests.penstock.conftest import SHARDS


def test_a_shard_of_another_processor(stores, serve):
    """A processor that does not own the id's shard answers 421 and names the shard."""
    shard = partition_of("plain", SHARDS)
    status, body = get(serve({1 - shard: stores[1 - shard]}), "/v1/workflows/plain")
    assert (status, json.loads(body)["error"]) == (421, "not_owned")
    assert f"shard {shard}" in json.loads(body)["message"]


def test_a_store_that_closes(serve):
    """A store that is closed during a request is 503, which clients retry."""

    class Closing(MemoryStore):
        def get(self, key):
            raise StoreError("closed.")

    status, _ = get(serve({0: Closing(), 1: Closing()}), "/v1/workflows/x")
    assert status == 503


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1000000"])
def test_a_bad_limit(stores, serve, limit):
    """An invalid limit is 400."""
    status, body = get(serve(stores), f"/v1/workflows?limit={limit}")
    assert (status, json.loads(body)["error"]) == (400, "bad_request")


def test_other_paths(stores, serve):
    """An unknown path is 404; /healthz lists the shards."""
    address = serve(stores)
    assert get(address, "/v1/workflows/a/b/c")[0] == 404
    assert get(address, "/v1/workflows/plain/queries")[0] == 404
    assert get(address, "/elsewhere")[0] == 404
    assert get(address, "/healthz") == (200, b'{"shards":[0,1]}')


def test_foreign_host_names(stores, serve):
    """A loopback server accepts loopback host names only (DNS rebinding)."""
    address = serve(stores)
    assert get(address, "/healthz", host="evil.example")[0] == 400
    assert get(address, "/healthz", host="localhost")[0] == 200
