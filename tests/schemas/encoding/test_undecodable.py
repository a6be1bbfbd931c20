"""Tests of malformed records and their messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas.encoding import codec
from penstock.schemas.errors import Undecodable
from penstock.schemas.failure import Failure
from penstock.schemas.records.activity import ActivityScheduled
from penstock.schemas.records.dead_letters import DeadLetter
from penstock.schemas.records.registry import ShardOwned
from penstock.schemas.records.replies import RunClosed
from penstock.schemas.records.run import StartWorkflow
from penstock.schemas.values.retry import RetryPolicy
from tests.schemas.samples import SEEDED, sample_of

HEADERS = sorted(codec.encode(sample_of(record))[:10] for record in codec.RECORDS.values())
SAMPLES = [codec.encode(sample_of(record)) for record in codec.RECORDS.values()]
START = codec.encode(StartWorkflow(workflow_id="order-1", workflow_type="fulfil", input=b"{}"))
OWNED = codec.encode(ShardOwned(shard=1, transactional_id="t", address="", released=True, at_ms=5))
RUN_CLOSED = codec.encode(RunClosed(message_id="m", workflow_id="w", run_id="r", status="completed"))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "The record is empty"),
        (b"\xc3", "begins with C3, which is neither Avro"),
        (b"hello", "begins with 68 65, which is neither Avro (C3 01) nor a JSON object"),
        (b"[1]", "begins with 5B 31, which is neither Avro"),
        (b"\xc3\x02abcdefgh", "begins with C3 02, which is neither Avro"),
        (b"\xc3\x01abc", "truncated after 5 bytes, within its schema fingerprint"),
        (b"\xc3\x01abcdefgh...", "The schema fingerprint 6162636465666768 is unknown"),
        (b"\x00\x00\x00\x00\x01abc", "Confluent wire format, which needs a schema registry, and none is configured"),
        (b"{}", "begins like JSON, which is accepted on the topic of commands only"),
        (START[:10], "The StartWorkflow record is truncated"),
        (START[:-1], "The StartWorkflow record is truncated"),
        (START + b"\0", f"The StartWorkflow record ends at byte {len(START)} of {len(START) + 1}"),
        (START[:10] + b"\x02\xff" + START[18:], "contains a text that is truncated or not UTF-8"),
        (START[:10] + b"\x01" + START[11:], "contains a negative length"),
        (START[:10] + b"\xff" * 12, "contains a number of more than 64 bits, up to byte 20"),
        (OWNED[:-2] + b"\x02" + OWNED[-1:], "contains 2 in place of a boolean, which is 0 or 1"),
        (RUN_CLOSED[:-1] + b"\x04", "selects a branch that its union does not have"),
    ],
)
def test_the_sentence(data, sentence):
    """Each kind of malformed record has its own message."""
    with pytest.raises(Undecodable) as raised:
        codec.decode(data)
    assert sentence in raised.value.detail
    assert raised.value.detail.endswith(".")


@pytest.mark.parametrize("whole", SAMPLES, ids=list(codec.RECORDS))
def test_cut_off_anywhere(whole):
    """No truncated record decodes."""
    for size in range(len(whole)):
        with pytest.raises(Undecodable):
            codec.decode(whole[:size])


def test_cut_off_within_a_fraction():
    """A double with bytes missing is truncated, like any other value."""
    whole = codec.encode(RetryPolicy())
    with pytest.raises(Undecodable, match="truncated"):
        codec.decode(whole[:16])


def test_lengths_beyond_memory_cost_nothing():
    """A length or a count near 2**63 is undecodable at once, without allocating memory."""
    huge = b"\xfe" + b"\xff" * 8 + b"\x01"
    for header in HEADERS:
        with pytest.raises(Undecodable):
            codec.decode(header + huge * 12)
    empty = codec.encode(Failure(type="T", message="m"))
    with pytest.raises(Undecodable, match="truncated"):
        codec.decode(empty[:-1] + huge)


@SEEDED
@given(st.one_of(st.binary(), st.builds(bytes.__add__, st.sampled_from([b"\xc3\x01", b"\0", b"{"]), st.binary())))
def test_any_bytes(data):
    """Whatever the bytes, both decoders give a record or raise Undecodable."""
    survives(data)


@SEEDED
@given(st.sampled_from(HEADERS), st.binary(max_size=80))
def test_any_bytes_behind_a_known_fingerprint(header, body):
    """The same holds for any bytes after a valid header."""
    survives(header + body)


@SEEDED
@given(st.sampled_from(SAMPLES), st.data())
def test_flipped_bytes(whole, data):
    """The same holds for a valid record with a few damaged bytes."""
    damaged = bytearray(whole)
    for at in data.draw(st.lists(st.integers(10, len(whole) - 1), min_size=1, max_size=3)):
        damaged[at] = data.draw(st.integers(0, 255))
    survives(bytes(damaged))


def test_undecodable_names_the_place():
    """The place of a record can be included in the message."""
    error = Undecodable("The record is empty.", topic="penstock.default.commands", partition=3, offset=17)
    assert str(error) == "penstock.default.commands[3]@17: The record is empty."
    assert (error.topic, error.partition, error.offset) == ("penstock.default.commands", 3, 17)


def test_a_record_that_is_no_command():
    """A valid record of another kind is refused on the topic of commands."""
    letter = DeadLetter(
        topic="t", partition=0, offset=0, key=b"", value=b"", reason="undecodable", message="m", at_ms=0
    )
    for record in (letter, ActivityScheduled(sequence=1, activity="a", input=b"", queue="q")):
        with pytest.raises(Undecodable, match=f"{type(record).__name__} is not a command"):
            codec.decode_command(codec.encode(record))


def survives(data: bytes) -> None:
    for decode in (codec.decode, codec.decode_command):
        try:
            outcome = type(decode(data)).__name__
        except Undecodable as error:
            outcome = error.detail
        assert outcome in codec.RECORDS or outcome.endswith(".")
