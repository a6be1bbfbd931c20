"""Tests of records that workflow code publishes."""

from __future__ import annotations

import msgspec
import pytest

from penstock.engine.authoring.publishing import publish
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.engine.runtime.reads import plain
from penstock.schemas.encoding.json_event import event_of
from penstock.schemas.errors import BadInput, BadName, PayloadTooLarge
from penstock.schemas.records.external import RecordPublished
from penstock.topics.partitioner import partition_of
from tests.engine.stage import Stage

ahead = Signal("published-ahead")
TOPIC = "audit.orders"


@workflow
async def publishes_twice(topic: str) -> str:
    publish(topic, key="k", value={"step": 1})
    await ahead.wait()
    publish(topic, value=b"\x00raw")
    publish(topic, "k", deletes=True)
    return "published"


@workflow
async def publishes_badly(what: str) -> str:
    try:
        match what:
            case "topic":
                publish("no topic", value=1)
            case "key":
                publish(TOPIC, key=3, value=1)  # type: ignore[arg-type]
            case "surrogate":
                publish(TOPIC, key="\ud800", value=1)
            case "both":
                publish(TOPIC, "k", 1, deletes=True)
            case "value":
                publish(TOPIC, value=object())
            case _:
                publish(TOPIC, value="x" * 3_000_000)
    except (BadInput, BadName, PayloadTooLarge) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def test_each_record_is_written_once_with_its_key() -> None:
    """JSON, bytes and a deletion leave with their decision, by the key or by the workflow id; replay repeats none."""
    stage = Stage(publishes_twice, shards=3)
    stage.start(publishes_twice, TOPIC)
    stage.restart()
    stage.signal("published-ahead")
    stage.restart()
    by_key, by_id = partition_of("k", 3), partition_of("run-1", 3)
    assert [(one.topic, one.partition, one.key, one.value) for one in stage.take("published")] == [
        (TOPIC, by_key, b"k", b'{"step":1}'),
        (TOPIC, by_id, None, b"\x00raw"),
        (TOPIC, by_key, b"k", None),
    ]


def test_a_run_waits_for_a_topic_that_does_not_exist() -> None:
    """A run that publishes to a missing topic is BLOCKED, names it, and goes on when it exists."""
    stage = Stage(publishes_twice)
    stage.missing.add(TOPIC)
    stage.start(publishes_twice, TOPIC)
    stage.restart()
    described = stage.described()
    assert (described["blocked_reason"], TOPIC in described["blocked_message"]) == ("missing_topic", True)
    stage.missing.clear()
    stage.restart()
    assert [one.value for one in stage.take("published")] == [b'{"step":1}']


def test_topics_of_the_namespace_are_refused() -> None:
    """A run that publishes to a topic of its namespace is BLOCKED, and writes nothing there."""
    stage = Stage(publishes_twice)
    stage.start(publishes_twice, "penstock.default.commands")
    stage.restart()
    assert stage.described()["blocked_reason"] == "reserved_topic"
    assert stage.take("commands") == []


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("topic", "BadName: 'no topic' is no name"),
        ("value", "BadInput"),
        ("key", "must be text"),
        ("surrogate", "must be text"),
        ("both", "not both"),
        ("size", "PayloadTooLarge"),
    ],
)
def test_a_wrong_publication_raises_in_the_code(what: str, says: str) -> None:
    """A topic's name that Kafka does not allow, a value without a JSON form and one too large raise at the call."""
    stage = Stage(publishes_badly)
    stage.start(publishes_badly, what)
    assert says in stage.described()["result"]


@pytest.mark.parametrize("value", [b"\xff\x00 raw", b"not json", b"", b"1E2", b'{"a":  1}', b'"text"'])
def test_bytes_are_exported_as_they_are(value: bytes) -> None:
    """The history that is printed and read back holds the bytes that were published."""
    event = RecordPublished(sequence=1, topic=TOPIC, value=value, raw=True)
    printed = msgspec.json.decode(msgspec.json.encode({"event": "RecordPublished", **plain(event)}))
    assert event_of(printed) == event
