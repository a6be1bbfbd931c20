"""Dead letters: records for the topic `dead-letters`, built from records that could not be processed.

Key, value and message are truncated, so that a dead letter never exceeds what its topic accepts.
"""

from __future__ import annotations

from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.dead_letters import DeadLetter
from penstock.topics.catalogue import RECORD_BYTES_MAX
from penstock.topics.log import Record, StoredRecord

KEY_BYTES_MAX = 4_096
MESSAGE_CHARACTERS_MAX = 4_000
VALUE_BYTES_MAX = RECORD_BYTES_MAX - 16_384


def dead_letter(record: StoredRecord, reason: str, message: str, now_ms: int, *, topic: str, partitions: int) -> Record:
    """The dead letter of `record`, for one of the `partitions` of `topic`.

    `reason` is one of the fixed words of `DeadLetter.reason`, `message` a sentence that says what to do. The partition
    follows from the record's own, so that dead letters of one shard keep their order."""
    letter = letter_of(record, reason, message, now_ms)
    key = None if record.key is None else letter.key
    return Record(topic, record.partition % partitions, key, encode(letter))


def letter_of(record: StoredRecord, reason: str, message: str, now_ms: int) -> DeadLetter:
    """The `DeadLetter` of `record`, with key, value and message within their limits; the message reports truncation."""
    key, value = record.key or b"", record.value or b""
    notes = _truncated("key", key, KEY_BYTES_MAX) + _truncated("value", value, VALUE_BYTES_MAX)
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=key[:KEY_BYTES_MAX],
        value=value[:VALUE_BYTES_MAX],
        reason=reason,
        message=message[:MESSAGE_CHARACTERS_MAX] + notes,
        at_ms=now_ms,
    )


def _truncated(part: str, data: bytes, bytes_max: int) -> str:
    if len(data) <= bytes_max:
        return ""
    return f" (Only the first {bytes_max:,} of the {len(data):,} bytes of its {part} are kept here.)"
