"""Tests of the codec."""

from __future__ import annotations

import io

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas.encoding import codec
from penstock.schemas.encoding.wire import LONG_MAX, LONG_MIN
from penstock.schemas.failure import Cause, Failure
from penstock.schemas.records.activity import ActivityCompleted, ActivityScheduled, ChangeActivity
from penstock.schemas.records.decisions import DecisionRecorded, Trigger
from penstock.schemas.records.external import RecordPublished
from penstock.schemas.records.tasks import ActivityTask, TaskCompleted
from tests.schemas.samples import SEEDED, any_of, sample_of

RECORDS = sorted(codec.RECORDS.values(), key=lambda record: record.__name__)
each_record = pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)


@each_record
def test_round_trip(record):
    """Whatever a record holds, decoding its encoding gives an equal record of the same type."""

    @SEEDED
    @given(any_of(record))
    def holds(value):
        again = codec.decode(codec.encode(value))
        assert type(again) is record
        assert again == value

    holds()


def test_zero_is_not_null():
    """A field that may be null keeps a 0 and an empty text, also among fields that are zeros."""
    changed = ChangeActivity(workflow_id="w", message_id="m", sequence=1, schedule_to_close_ms=0)
    published = RecordPublished(sequence=1, topic="t", value=b"", key="")
    assert [codec.decode(codec.encode(one)) for one in (changed, published)] == [changed, published]


@each_record
def test_fastavro_writes_the_same_bytes(record):
    """The generated writer gives what fastavro writes for the same schema and value."""
    schema = fastavro.parse_schema(codec.schema_of(record))

    @SEEDED
    @given(any_of(record))
    def holds(value):
        body = io.BytesIO()
        fastavro.schemaless_writer(body, schema, msgspec.to_builtins(value, builtin_types=(bytes,)))
        assert codec.encode(value)[10:] == body.getvalue()

    holds()


@each_record
def test_header_is_single_object_encoding(record):
    """A record begins with C3 01 and its schema's fingerprint, least significant byte first."""
    header = codec.encode(sample_of(record))[:10]
    form = fastavro.schema.to_parsing_canonical_form(fastavro.parse_schema(codec.schema_of(record)))
    assert header == b"\xc3\x01" + _rabin(form.encode()).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("schema", "fingerprint"),
    [
        ("null", 0x63DD24E7CC258F8A),
        ("int", 0x7275D51A3F395C8F),
        ("long", 0xD054E14493F41DB7),
        ("string", 0x8F014872634503C7),
    ],
)
def test_fingerprints_of_the_avro_project(schema, fingerprint):
    """Fingerprints are those that Avro's own implementations give (share/test/data/schema-tests.txt there)."""
    assert codec.fingerprint_of(schema) == fingerprint.to_bytes(8, "little")


def test_numbers_at_the_edges_of_64_bits():
    """The smallest and the greatest 64-bit number survive, and so do those where one byte more is needed."""
    edges = {LONG_MIN, LONG_MAX, *(sign * 2**bits + by for bits in range(63) for sign in (-1, 1) for by in (-1, 0, 1))}
    for number in sorted(edges):
        task = TaskCompleted(workflow_id="w", run_id="r", sequence=number, attempt=1, result=b"")
        assert codec.decode(codec.encode(task)).sequence == number, number


@pytest.mark.parametrize("number", [LONG_MIN - 1, LONG_MAX + 1])
def test_numbers_beyond_64_bits_are_refused(number):
    """A number that Avro's long cannot hold raises OverflowError instead of being cut."""
    with pytest.raises(OverflowError, match="64 bits"):
        codec.encode(TaskCompleted(workflow_id="w", run_id="r", sequence=number, attempt=1, result=b""))


def test_a_wrongly_typed_field_is_refused():
    """A number in a text field raises an error when encoded."""
    with pytest.raises(AttributeError):
        codec.encode(TaskCompleted(workflow_id=7, run_id="r", sequence=1, attempt=1, result=b""))  # type: ignore[arg-type]


def test_a_decision_carries_its_events():
    """The events inside a decision are records of their own, and decode to what was encoded."""
    events = (
        ActivityCompleted(sequence=1, attempt=1, result=b'"ok"'),
        ActivityScheduled(sequence=2, activity="charge", input=b"1", queue="payments"),
    )
    decision = DecisionRecorded(
        workflow_id="order-1",
        run_id="run-1",
        shard=3,
        decision=9,
        now_ms=1_790_000_000_000,
        trigger=Trigger(topic="penstock.default.results", partition=3, offset=17),
        first_sequence=4,
        events=tuple(codec.encode(event) for event in events),
    )
    again = codec.decode(codec.encode(decision))
    assert again == decision
    assert tuple(codec.decode(event) for event in again.events) == events


@SEEDED
@given(st.lists(st.integers(0, 3), min_size=1, max_size=3))
def test_arrays_may_come_in_blocks(blocks):
    """An array written in several blocks, with or without their sizes in bytes, reads as one."""
    failure = Failure(type="T", message="m", causes=tuple(Cause(type="C", message="c") for _ in range(sum(blocks))))
    item = b"\x02C\x02c"
    body = b"".join(
        _zigzag(-size) + _zigzag(size * len(item)) + item * size if size % 2 else _zigzag(size) + item * size
        for size in blocks
        if size
    )
    empty = codec.encode(Failure(type="T", message="m"))
    assert codec.decode(empty[:-1] + body + b"\0") == failure


def test_the_reader_is_chosen_by_the_fingerprint_alone():
    """Two record types with the same fields are distinguished."""
    task = ActivityTask(
        workflow_id="w", run_id="r", sequence=1, attempt=1, activity="a", input=b"", queue="default", shard=0
    )
    assert {type(codec.decode(codec.encode(value))) for value in (task, Cause(type="a", message="b"))} == {
        ActivityTask,
        Cause,
    }


def _zigzag(number: int) -> bytes:
    rest = number * 2 if number >= 0 else -number * 2 - 1
    assert rest < 128
    return bytes([rest])


def _rabin(data: bytes) -> int:
    """CRC-64-AVRO, bit by bit, as the Avro specification defines it."""
    fingerprint = 0xC15D213AA4D7A795
    for byte in data:
        fingerprint ^= byte
        for _ in range(8):
            fingerprint = (fingerprint >> 1) ^ (0xC15D213AA4D7A795 & -(fingerprint & 1))
    return fingerprint
