"""Tests of `publish`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.schemas.errors import LogError, UnknownTopic
from penstock.topics.connect import connect
from penstock.topics.log import Log, Record, TopicSpec
from penstock.topics.publishing import publish
from tests.contract.log_tools import WAIT_S, everything, values


@pytest.fixture
def log() -> Iterator[Log]:
    """A log in memory with the topic `t`."""
    opened = connect("embedded::memory:")
    opened.create([TopicSpec("t", 1, {})])
    yield opened
    opened.close()


def test_what_was_published_lies_in_the_log(log: Log) -> None:
    """When `publish` returns, every record lies in its topic, in the order given."""
    publish(log, (Record("t", 0, None, b"%d" % number) for number in range(10)), WAIT_S)
    assert values(everything(log, "t")) == [b"%d" % number for number in range(10)]


def test_a_refusal_is_raised(log: Log) -> None:
    """A record that the log refuses raises the log's error."""
    with pytest.raises(UnknownTopic, match="absent"):
        publish(log, [Record("t", 0, None, b"x"), Record("absent", 0, None, b"x")], WAIT_S)


def test_every_refusal_is_a_log_error(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other exceptions of an adapter are raised as LogError, the first of several."""

    class Refusing:
        def send(self, record, on_done) -> None:
            on_done(OSError(f"no room for {record.value!r}"))

        def flush(self, timeout_s) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr(log, "publisher", Refusing)
    with pytest.raises(LogError, match="no room for b'1'"):
        publish(log, [Record("t", 0, None, b"1"), Record("t", 0, None, b"2")], WAIT_S)
