"""Codec between records and bytes: Avro single-object encoding.

An encoding is C3 01, the schema's CRC-64-AVRO fingerprint (little-endian) and the body; see "Single-object encoding"
and "Schema Fingerprints" in the Avro specification 1.12. The schema of record `X` is `avro/X.avsc`. Schemas of earlier
releases remain as `avro/X.1.avsc`, `avro/X.2.avsc`, … and are read by Avro's rules of schema resolution.

A record is written by the newest of its schemas that the feature level allows (values/levels.py, `write_at`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import msgspec
from fastavro.schema import fingerprint, to_parsing_canonical_form

from penstock.schemas.encoding import json_command
from penstock.schemas.encoding.record_types import RECORDS
from penstock.schemas.encoding.wire import (
    HEADER_BYTES,
    MALFORMED,
    Malformed,
    Reader,
    Schema,
    Writer,
    compile_reader,
    compile_writer,
)
from penstock.schemas.errors import Undecodable, UnknownSchema
from penstock.schemas.records.kinds import Command
from penstock.schemas.values.levels import FIRST_LEVEL, LEVEL

MAGIC = b"\xc3\x01"
AVRO = Path(__file__).parent.parent / "avro"


def encode(value: msgspec.Struct) -> bytes:
    """Encode a record.

    Raises TypeError or AttributeError if a field's value is not of its declared type, OverflowError for a number beyond
    64 bits. These are errors of the program, not of its input.
    """
    return _writers[type(value)](value)


def decode(data: bytes) -> Any:
    """Decode a record. Raises Undecodable, and no other error, for any bytes; UnknownSchema if a newer program may have
    written them."""
    reader = _readers.get(data[:HEADER_BYTES]) or _reader_of(data)
    try:
        return reader(data)
    except MALFORMED as error:
        raise Undecodable(f"The {_name_of(data)} record {_complaint(error)}.") from error


def decode_command(data: bytes) -> Command:
    """Decode a command, in Avro or as a JSON object (see json_command.py).

    Raises Undecodable, also for other records and for invalid ids.
    """
    command = json_command.parse(data) if data[:1] == b"{" else decode(data)
    if not isinstance(command, Command):
        raise Undecodable(f"{type(command).__name__} is not a command and does not belong on this topic.")
    json_command.check(command)
    if data[:1] == b"{":
        check_range(command)
    return command


def check_range(command: Command) -> None:
    """Check that Avro can express a command written in JSON, which may be forwarded to another shard.

    Raises Undecodable."""
    try:
        encode(command)
    except (OverflowError, UnicodeEncodeError) as error:
        raise Undecodable(f"{type(command).__name__} cannot be recorded: {error}.") from error


def schema_of(record: type[msgspec.Struct]) -> dict[str, Any]:
    """The record's current schema, from its .avsc file. Raises KeyError for a class that is not a record."""
    return _schema(AVRO / f"{RECORDS[record.__name__].__name__}.avsc")


def fingerprint_of(schema: Schema) -> bytes:
    """The fingerprint of a schema: CRC-64-AVRO of its parsing canonical form, 8 bytes, little-endian."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(fastavro.parse_schema(schema)), "CRC-64-AVRO"))


# Headers and generated functions, created on first use.


def prepare(records: Iterable[type[msgspec.Struct]]) -> None:
    """Create the writers and readers of these records now: 2 ms each, which the first use takes otherwise."""
    for record in records:
        _ = _writers[record]
    for header, schema in _written.items():
        _readers.setdefault(header, compile_reader(schema, RECORDS))


class _Writers(dict[type[msgspec.Struct], Writer]):
    """Compiled writers of a feature level."""

    level = LEVEL

    def __missing__(self, record: type[msgspec.Struct]) -> Writer:
        current = schema_of(record)
        schema = next((found for found in _versions(current) if _level(found) <= self.level), None)
        assert schema is not None, (
            f"{record.__name__} is of level {_level(current)}, but level {self.level} is written: compare levels first"
        )
        header = MAGIC + fingerprint_of(schema)
        writer = compile_writer(schema, header)
        if schema is current:
            _written[header] = current
        self[record] = writer = writer if schema is current else _earlier_writer(writer, record, schema)
        return writer


_writers = _Writers()


def write_at(level: int) -> None:
    """Write records as programs of that feature level know them. For the whole process; its own level by default."""
    if level != _writers.level:
        _writers.level = level
        _writers.clear()


def _earlier_writer(write: Writer, record: type[msgspec.Struct], schema: Schema) -> Writer:
    """A writer of an earlier schema, which refuses a value that the schema would lose."""
    written = {field["name"] for field in schema["fields"]}
    added = [field for field in msgspec.structs.fields(record) if field.name not in written]

    def write_earlier(value: msgspec.Struct) -> bytes:
        for field in added:
            default = field.default_factory() if callable(field.default_factory) else field.default
            assert getattr(value, field.name) == default, (
                f"{record.__name__}.{field.name} is of a level that is not written yet: compare levels first"
            )
        return write(value)

    return write_earlier


def _versions(current: Schema) -> list[Schema]:
    """The schemas of a record, the newest first."""
    earlier = AVRO.glob(f"{current['name']}.*.avsc")
    numbered = sorted(earlier, key=lambda path: int(path.name.split(".")[1]), reverse=True)
    return [current, *map(_schema, numbered)]


def _level(schema: Schema) -> int:
    level: int = schema.get("level", FIRST_LEVEL)
    return level


_readers: dict[bytes, Reader] = {}
_written: dict[bytes, Schema] = {}  # of this process: the fingerprints of all schemas take 60 ms


def _reader_of(data: bytes) -> Reader:
    """Create the reader for these bytes. Raises Undecodable if their schema is unknown."""
    header = data[:HEADER_BYTES]
    if header in _written:
        reader = _readers[header] = compile_reader(_written[header], RECORDS)
        return reader
    path = _paths().get(header)
    if path is None:
        raise _unknown_error(data)(_unknown(data))
    current = schema_of(RECORDS[_record_name(path)])
    if path.name == f"{current['name']}.avsc":
        reader = compile_reader(current, RECORDS)
    else:
        reader = _resolving_reader(_schema(path), current)
    _readers[header] = reader
    return reader


def _resolving_reader(written: Schema, current: Schema) -> Reader:
    """A reader of an earlier schema, which fills fields added since with their defaults."""
    record = RECORDS[current["name"]]
    writer_schema, reader_schema = fastavro.parse_schema(written), fastavro.parse_schema(current)

    def read(data: bytes) -> msgspec.Struct:
        body = _Exactly(data)
        body.seek(HEADER_BYTES)
        try:
            fields = fastavro.schemaless_reader(body, writer_schema, reader_schema)
        except Exception as error:  # any error of fastavro on malformed bytes
            raise Malformed(f"of an earlier release does not fit its schema ({error})") from error
        if body.tell() != len(data):
            raise Malformed(f"ends at byte {body.tell()} of {len(data)}")
        return msgspec.convert(fields, record)

    return read


class _Exactly(BytesIO):
    """Stream that raises EOFError on short reads, where fastavro would accept a shorter text."""

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        if size is None or size < 0 or len(found) < size:
            raise EOFError("it is truncated")
        return found


@cache
def _paths() -> Mapping[bytes, Path]:
    """Schema files by header, including those of earlier releases."""
    return {MAGIC + fingerprint_of(_schema(path)): path for path in sorted(AVRO.glob("*.avsc"))}


@cache
def _schema(path: Path) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


def _record_name(path: Path) -> str:
    return path.name.split(".")[0]


def _name_of(data: bytes) -> str:
    return _record_name(_paths()[data[:HEADER_BYTES]])


# Error messages.


def _unknown_error(data: bytes) -> type[Undecodable]:
    return UnknownSchema if data[:2] == MAGIC and len(data) >= HEADER_BYTES else Undecodable


def _unknown(data: bytes) -> str:
    if not data:
        return "The record is empty: send Avro single-object encoding, or JSON on the topic of commands."
    if data[:2] == MAGIC and len(data) < HEADER_BYTES:
        return f"The record is truncated after {len(data)} bytes, within its schema fingerprint."
    if data[:2] == MAGIC:
        return (
            f"The schema fingerprint {data[2:HEADER_BYTES].hex()} is unknown: "
            "upgrade this program, or write the record with a schema of its version."
        )
    if data[0] == 0:
        return (
            "The record begins with 00, the Confluent wire format, which needs a schema registry, and none is "
            "configured: send Avro single-object encoding, or JSON on the topic of commands."
        )
    if data[:1] == b"{":
        return "The record begins like JSON, which is accepted on the topic of commands only: send Avro here."
    return f"The record begins with {data[:2].hex(' ').upper()}, which is neither Avro (C3 01) nor a JSON object."


def _complaint(error: Exception) -> str:
    match error:
        case Malformed():
            return str(error)
        case UnicodeDecodeError():
            return "contains a text that is truncated or not UTF-8"
        case _:
            return "is truncated"
