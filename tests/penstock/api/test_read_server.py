"""Tests of starting and stopping the read server."""

import socket

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


def test_answers_leave_at_once(stores):
    """The packets of an answer do not wait for acknowledgements, which take 40 ms."""
    server = ReadServer(lambda: stores, SHARDS)
    assert server._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    server.stop()
