"""Tests of decoding errors of stored records."""

from __future__ import annotations

import pytest

from penstock.schemas.errors import Undecodable
from penstock.topics.decoding import decoded, decoded_command
from penstock.topics.log import StoredRecord


@pytest.mark.parametrize("read", [decoded, decoded_command])
@pytest.mark.parametrize("value", [None, b"", b"\xc3\x01", b"\x00\x00\x00\x00\x01", b"\xff"])
def test_error_names_topic_partition_and_offset(read: object, value: bytes | None) -> None:
    """Undecodable carries the record's place, as attributes and in its text."""
    record = StoredRecord("penstock.default.commands", 3, 17, None, value)
    with pytest.raises(Undecodable, match=r"penstock\.default\.commands\[3\]@17: ") as caught:
        read(record)  # type: ignore[operator]
    assert (caught.value.topic, caught.value.partition, caught.value.offset) == (record.topic, 3, 17)
