"""Logs that the contract suite runs on: every adapter, opened by its URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.topics.connect import connect
from penstock.topics.log import Log

ADAPTERS = ("embedded-memory", "embedded-file", "kafka")
SHARED_ADAPTERS = ("embedded-file", "kafka")


def _url(adapter: str, request: pytest.FixtureRequest, directory: Path) -> str:
    if adapter == "embedded-memory":
        return "embedded::memory:"
    if adapter == "embedded-file":
        return f"embedded:{directory}/log.sqlite3"
    return f"kafka://{request.getfixturevalue('kafka_bootstrap')}"


@pytest.fixture(params=ADAPTERS)
def log_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an adapter's log. A broker may be shared between tests: topics and groups need names of their own."""
    return _url(request.param, request, tmp_path)


@pytest.fixture(params=SHARED_ADAPTERS)
def shared_log_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a log that several processes can open at once."""
    return _url(request.param, request, tmp_path)


@pytest.fixture
def log(log_url: str) -> Iterator[Log]:
    """A log, closed after the test."""
    opened = connect(log_url)
    yield opened
    opened.close()
