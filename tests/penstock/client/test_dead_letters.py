"""Can dead letters be listed, sent again and set aside?"""

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
        message="mend it.", at_ms=1,
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
    """Letters come in the order of the log, each with its place."""
    for offset in (4, 5):
        put(log, topics, offset=offset)
    found = letters(log, topics)
    assert [(one.place, one.letter.offset, one.done) for one in found] == [("0/0", 4, ""), ("0/1", 5, "")]
    assert letter_at(log, topics, "0/1") == found[1]


def test_replaying(log, topics):
    """The record goes back to its topic unchanged, to the partition of its key, and its letter counts as done."""
    right = partition_of(b"order-1", SHARDS)
    put(log, topics, partition=1 - right)
    replay(log, topics, letters(log, topics))
    assert kept(log, topics.commands, SHARDS) == [(right, b"order-1", b"{bad")]
    assert [one.done for one in letters(log, topics)] == ["replayed"]


def test_replaying_without_a_key(log, topics):
    """A record without a key, or of a task topic, goes back to the partition that it lay on."""
    put(log, topics, partition=1, key=b"")
    put(log, topics, partition=5, topic=topics.tasks("default"), value=b"task")
    replay(log, topics, letters(log, topics))
    assert kept(log, topics.commands, SHARDS) == [(1, None, b"{bad")]
    assert kept(log, topics.tasks("default"), 8) == [(5, b"order-1", b"task")]


def test_discarding(log, topics):
    """A discarded letter counts as done, is still there to be seen, and its neighbour is untouched."""
    put(log, topics, offset=4)
    put(log, topics, offset=5)
    discard(log, topics, [letter_at(log, topics, "0/0")])
    assert [(one.place, one.done) for one in letters(log, topics)] == [("0/0", "discarded"), ("0/1", "")]
    assert kept(log, topics.commands, SHARDS) == []


def test_a_topic_that_is_gone(log, topics):
    """Nothing is replayed, and nothing counts as done, when one of the topics does not exist."""
    put(log, topics)
    put(log, topics, topic="elsewhere")
    with pytest.raises(UnknownTopic, match="elsewhere"):
        replay(log, topics, letters(log, topics))
    assert [one.done for one in letters(log, topics)] == ["", ""]
    assert kept(log, topics.commands, SHARDS) == []


def test_bytes_that_are_no_letter(log, topics):
    """What somebody else wrote onto the topic is shown as it is instead of stopping the list."""
    put(log, topics, raw=b"\x00rubbish")
    (found,) = letters(log, topics)
    assert (found.letter.reason, found.letter.value) == ("undecodable", b"\x00rubbish")


@pytest.mark.parametrize(
    ("place", "error"), [("0/7", LetterNotFound), ("7", BadName), ("a/b", BadName), ("/", BadName)]
)
def test_a_place_without_letter(log, topics, place, error):
    """A place that names no letter is refused, saying how places are written."""
    with pytest.raises(error, match="dead-letters list"):
        letter_at(log, topics, place)


def test_a_namespace_without_topics(log):
    """Where there is no topic of dead letters, it is said what makes it."""
    with pytest.raises(UnknownTopic, match="topics apply"):
        letters(log, Topics("other"))
