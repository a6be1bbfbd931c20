"""Decoding of stored records, with errors that name topic, partition and offset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.schemas.encoding.codec import check_range, decode, decode_command
from penstock.schemas.encoding.json_report import parse_report
from penstock.schemas.errors import Undecodable
from penstock.topics.log import StoredRecord


def decoded(record: StoredRecord) -> Any:
    """The value of `record`. Raises Undecodable, naming topic, partition and offset."""
    try:
        return decode(record.value or b"")
    except Undecodable as error:
        raise placed(error, record) from error


def decoded_command(record: StoredRecord) -> Any:
    """As `decoded`, for the topic `commands`, where JSON is accepted too. Raises Undecodable."""
    try:
        return decode_command(record.value or b"")
    except Undecodable as error:
        raise placed(error, record) from error


def decoded_report(record: StoredRecord, keys: Sequence[bytes]) -> Any:
    """What a record of `results` in JSON says of an attempt, as a command. Raises Undecodable."""
    try:
        command = parse_report(record.value or b"", keys)
        check_range(command)
    except Undecodable as error:
        raise placed(error, record) from error
    return command


def placed(error: Undecodable, record: StoredRecord) -> Undecodable:
    """The same error with the place of `record`."""
    return type(error)(error.detail, topic=record.topic, partition=record.partition, offset=record.offset)
