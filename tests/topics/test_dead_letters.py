"""Tests of the builder of dead letters."""

from __future__ import annotations

from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.records.dead_letters import DeadLetter
from penstock.topics.catalogue import DEAD_LETTER_BYTES_MAX, MESSAGE_BYTES_MAX
from penstock.topics.dead_letters import KEY_BYTES_MAX, MESSAGE_CHARACTERS_MAX, VALUE_BYTES_MAX, dead_letter
from penstock.topics.log import Record, StoredRecord


def test_a_record_is_kept_whole_with_its_place() -> None:
    """A dead letter has the record's place, key and value, the reason, the message and the time."""
    record = StoredRecord("commands", 5, 17, b"order-1", b"nonsense")
    letter = DeadLetter(
        topic="commands",
        partition=5,
        offset=17,
        key=b"order-1",
        value=b"nonsense",
        reason="undecodable",
        message="It is nonsense.",
        at_ms=3,
    )
    made = dead_letter(record, "undecodable", "It is nonsense.", 3, topic="dead-letters", partitions=3)
    assert made == Record("dead-letters", 2, b"order-1", encode(letter))


def test_missing_key_and_value_are_empty() -> None:
    """Without key and value the letter has empty ones, and the dead letter has no key."""
    made = dead_letter(StoredRecord("t", 0, 0, None, None), "undecodable", "Empty.", 3, topic="d", partitions=1)
    letter = decode(made.value or b"")
    assert (made.key, letter.key, letter.value) == (None, b"", b"")


def test_the_largest_record_fits_the_topic() -> None:
    """Key, value and message beyond their limits are truncated, the message says so, and the record fits its topic."""
    key, value = b"k" * (KEY_BYTES_MAX + 1), b"v" * MESSAGE_BYTES_MAX
    record = StoredRecord("commands", 0, 2**40, key, value)
    made = dead_letter(record, "too_large", "😀" * 9_000, 3, topic="dead-letters", partitions=1)
    letter = decode(made.value or b"")
    assert made.key == letter.key == key[:KEY_BYTES_MAX]
    assert letter.value == value[:VALUE_BYTES_MAX]
    assert letter.message.startswith(
        "😀" * MESSAGE_CHARACTERS_MAX + " (Only the first 4,096 of the 4,097 bytes of its key"
    )
    assert letter.message.endswith(
        f"(Only the first {VALUE_BYTES_MAX:,} of the {len(value):,} bytes of its value are kept here.)"
    )
    assert len(made.key) + len(made.value or b"") + 100 < DEAD_LETTER_BYTES_MAX
