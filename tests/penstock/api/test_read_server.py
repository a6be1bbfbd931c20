"""Tests of starting and stopping the read server."""

import pytest

from penstock.api.read_server import ReadServer
from tests.penstock.api.http_get import get
from tests.penstock.conftest import SHARDS


def test_stopping(stores):
    """stop closes the port, and may be called twice or before start."""
    server = ReadServer(lambda: stores, SHARDS)
    server.start()
    server.stop()
    server.stop()
    with pytest.raises(OSError):
        get(server.address, "/healthz")
    never = ReadServer(lambda: stores, SHARDS)
    never.stop()
