"""Tests of dead letters: list, replay, discard."""

import pytest

from penstock.client.dead_letters import LetterNotFound, discard, letter_at, letters, replay
from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import BadName, UnknownTopic
from penstock.schemas.records.dead_letters import DeadLetter
from penstock.topics.catalogue import Topics
from penstock.topics.log import Record
from penstock.topics.partitioner import partition_of
from penstock.topics.publishing import publish
from tests.penstock.conftest import SHARDS


def put(log, topics, *, topic=None, partition=0, offset=1, key=b"order-1", value=b"{bad", raw=None):
    letter = DeadLetter(
        topic=topic or topics.commands, partition=partition, offset=offset, key=key, value=value, reason="undecodable",
        message="correct it.", at_ms=1,
    )  # fmt: skip
    publish(log, [Record(topics.dead_letters, 0, key, raw if raw is not None else encode(letter))], 5)


def kept(log, topic, partitions):
    return [
        (partition, record.key, record.value)
        for partition in range(partitions)
        for batch in log.read_to_end(topic, partition, 0, 5)
        for record in batch
    ]


def test_listing(log, topics):
    """Letters are listed in the order of the log, each with its position."""
    for offset in (4, 5):
        put(log, topics, offset=offset)
    found = letters(log, topics)
    assert [(one.position, one.letter.offset, one.done) for one in found] == [("0/0", 4, ""), ("0/1", 5, "")]
    assert letter_at(log, topics, "0/1") == found[1]


def test_replaying(log, topics):
    """The record is appended unchanged to its topic, on the partition of its key, and its letter is marked."""
    right = partition_of(b"order-1", SHARDS)
    put(log, topics, partition=1 - right)
    replay(log, topics, letters(log, topics))
    assert kept(log, topics.commands, SHARDS) == [(right, b"order-1", b"{bad")]
    assert [one.done for one in letters(log, topics)] == ["replayed"]


def test_replaying_without_a_key(log, topics):
    """A record without a key, or of a task topic, returns to its original partition."""
    put(log, topics, partition=1, key=b"")
    put(log, topics, partition=5, topic=topics.tasks("default"), value=b"task")
    replay(log, topics, letters(log, topics))
    assert kept(log, topics.commands, SHARDS) == [(1, None, b"{bad")]
    assert kept(log, topics.tasks("default"), 8) == [(5, b"order-1", b"task")]


def test_discarding(log, topics):
    """A discarded letter is marked and still listed, and no other letter is marked."""
    put(log, topics, offset=4)
    put(log, topics, offset=5)
    discard(log, topics, [letter_at(log, topics, "0/0")])
    assert [(one.position, one.done) for one in letters(log, topics)] == [("0/0", "discarded"), ("0/1", "")]
    assert kept(log, topics.commands, SHARDS) == []


def test_replaying_to_a_missing_topic(log, topics):
    """If one of the topics does not exist, nothing is replayed or marked."""
    put(log, topics)
    put(log, topics, topic="elsewhere")
    with pytest.raises(UnknownTopic, match="elsewhere"):
        replay(log, topics, letters(log, topics))
    assert [one.done for one in letters(log, topics)] == ["", ""]
    assert kept(log, topics.commands, SHARDS) == []


def test_bytes_that_are_not_a_letter(log, topics):
    """Foreign bytes on the topic are listed as they are."""
    put(log, topics, raw=b"\x00rubbish")
    (found,) = letters(log, topics)
    assert (found.letter.reason, found.letter.value) == ("undecodable", b"\x00rubbish")


@pytest.mark.parametrize(
    ("position", "error"), [("0/7", LetterNotFound), ("7", BadName), ("a/b", BadName), ("/", BadName)]
)
def test_a_position_without_letter(log, topics, position, error):
    """A position without a letter raises an error that names the command that lists positions."""
    with pytest.raises(error, match="dead-letters list"):
        letter_at(log, topics, position)


def test_a_namespace_without_topics(log):
    """Without the topic of dead letters, the error says what creates it."""
    with pytest.raises(UnknownTopic, match="topics apply"):
        letters(log, Topics("other"))
