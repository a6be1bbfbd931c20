"""Records that workflow code writes to topics of its users."""

from __future__ import annotations

from typing import Any

from penstock.engine.authoring.context import current
from penstock.schemas.errors import BadInput
from penstock.schemas.ids import check_topic
from penstock.schemas.records.external import RecordPublished
from penstock.schemas.values.payload import adapter_for, check_size

_ANY = adapter_for(Any)


def publish(topic: str, key: str | None = None, value: Any = None, *, deletes: bool = False) -> None:
    """Write a record to a topic when this decision commits, in its transaction: once, and only if it commits.

    `topic`: any that is not the namespace's own; the run is BLOCKED until it exists (on an embedded log it is created).
    `key`: chooses the partition (Kafka's murmur2); without one, the workflow id does. `value`: `bytes` as they are,
    anything else as JSON. `deletes`: the record has no value, so that a compacted topic forgets its key. Replay writes
    nothing again.

    Raises BadInput (the value has no JSON form), BadName (of a topic), PayloadTooLarge, NotInWorkflow."""
    check_topic(topic)
    if key is not None and not _is_text(key):
        raise BadInput(f"The key of publish() to {topic} must be text, not {key!r:.60}.")
    if deletes and value is not None:
        raise BadInput(f"publish() to {topic} takes a value or deletes=True, not both.")
    raw = isinstance(value, bytes)
    data = b"" if deletes else value if raw else _ANY.encode(value)
    check_size(data + (key or "").encode(), what=f"the key and value of publish() to {topic}")
    program = current("publish()")
    sequence = program.next_sequence()
    program.request(RecordPublished(sequence=sequence, topic=topic, key=key, value=data, deletes=deletes, raw=raw))


def _is_text(key: object) -> bool:
    """Whether it is text that can be encoded: one with a lone surrogate cannot."""
    if not isinstance(key, str):
        return False
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
