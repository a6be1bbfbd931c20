"""How does a record become bytes, and bytes a record?

Avro single-object encoding: C3 01, the schema's CRC-64-AVRO fingerprint (little-endian), the body; see "Single-object
encoding" and "Schema Fingerprints" in the Avro specification 1.12. The schema of record `X` is `avro/X.avsc`; what
`X` looked like in earlier releases stays as `avro/X.1.avsc`, `avro/X.2.avsc`, … and is still read, by Avro's rules of
schema resolution.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from penstock.schemas.errors import Undecodable
from penstock.schemas.records.kinds import Command

MAGIC = b"\xc3\x01"
AVRO = Path(__file__).parent.parent / "avro"


def encode(value: msgspec.Struct) -> bytes:
    """The record in single-object encoding.

    Raises TypeError or AttributeError when a field holds something else than it declares, OverflowError for a number
    beyond 64 bits: mistakes of the program, not of its input.
    """
    return _writers[type(value)](value)


def decode(data: bytes) -> Any:
    """The record that these bytes hold. Raises Undecodable, whatever the bytes are."""
    reader = _readers.get(data[:HEADER_BYTES]) or _reader_of(data)
    try:
        return reader(data)
    except MALFORMED as error:
        raise Undecodable(f"The {_name_of(data)} record {_complaint(error)}.") from error


def decode_command(data: bytes) -> Command:
    """The command that these bytes hold, in Avro or as a JSON object (see json_command.py).

    Raises Undecodable, also for a record that is no command and for ids that break the rules.
    """
    command = json_command.parse(data) if data[:1] == b"{" else decode(data)
    if not isinstance(command, Command):
        raise Undecodable(f"{type(command).__name__} is no command and does not belong on this topic.")
    json_command.check(command)
    return command


def schema_of(record: type[msgspec.Struct]) -> dict[str, Any]:
    """The record's current schema, as its .avsc says it. Raises KeyError for a class that is no record."""
    return _schema(AVRO / f"{RECORDS[record.__name__].__name__}.avsc")


def fingerprint_of(schema: Schema) -> bytes:
    """The 8 bytes that name a schema in the header: CRC-64-AVRO of its parsing canonical form, little-endian."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(fastavro.parse_schema(schema)), "CRC-64-AVRO"))


# Headers and generated functions, made when first needed.


class _Writers(dict[type[msgspec.Struct], Writer]):
    def __missing__(self, record: type[msgspec.Struct]) -> Writer:
        schema = schema_of(record)
        self[record] = writer = compile_writer(schema, MAGIC + fingerprint_of(schema))
        return writer


_writers = _Writers()
_readers: dict[bytes, Reader] = {}


def _reader_of(data: bytes) -> Reader:
    """The reader for these bytes, made now. Raises Undecodable when there is none."""
    header = data[:HEADER_BYTES]
    path = _paths().get(header)
    if path is None:
        raise Undecodable(_unknown(data))
    current = schema_of(RECORDS[_record_name(path)])
    if path.name == f"{current['name']}.avsc":
        reader = compile_reader(current, RECORDS)
    else:
        reader = _resolving_reader(_schema(path), current)
    _readers[header] = reader
    return reader


def _resolving_reader(written: Schema, current: Schema) -> Reader:
    """Read what an earlier release wrote as the record is today: fields added since get their defaults."""
    record = RECORDS[current["name"]]
    writer_schema, reader_schema = fastavro.parse_schema(written), fastavro.parse_schema(current)

    def read(data: bytes) -> msgspec.Struct:
        body = _Exactly(data)
        body.seek(HEADER_BYTES)
        try:
            fields = fastavro.schemaless_reader(body, writer_schema, reader_schema)
        except Exception as error:  # whatever fastavro makes of hostile bytes
            raise Malformed(f"of an earlier release does not fit its schema ({error})") from error
        if body.tell() != len(data):
            raise Malformed(f"ends at byte {body.tell()}, but {len(data)} bytes are there")
        return msgspec.convert(fields, record)

    return read


class _Exactly(BytesIO):
    """Bytes that are cut off raise EOFError: fastavro takes what it gets, and would read a shorter text."""

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        if size is None or size < 0 or len(found) < size:
            raise EOFError("it is cut off")
        return found


@cache
def _paths() -> Mapping[bytes, Path]:
    """The schema file for each header, earlier releases' included."""
    return {MAGIC + fingerprint_of(_schema(path)): path for path in sorted(AVRO.glob("*.avsc"))}


@cache
def _schema(path: Path) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


def _record_name(path: Path) -> str:
    return path.name.split(".")[0]


def _name_of(data: bytes) -> str:
    return _record_name(_paths()[data[:HEADER_BYTES]])


# Why bytes cannot be read, in one sentence.


def _unknown(data: bytes) -> str:
    if not data:
        return "The record is empty: send Avro single-object encoding, or JSON on the topic of commands."
    if data[:2] == MAGIC and len(data) < HEADER_BYTES:
        return f"The record is cut off after {len(data)} bytes, within its schema fingerprint."
    if data[:2] == MAGIC:
        return (
            f"No schema with fingerprint {data[2:HEADER_BYTES].hex()} is known here: "
            "upgrade this program, or write the record with one of the schemas that it knows."
        )
    if data[0] == 0:
        return (
            "The record begins with 00, the Confluent wire format, which needs a schema registry, and none is "
            "configured: send Avro single-object encoding, or JSON on the topic of commands."
        )
    if data[:1] == b"{":
        return "The record begins like JSON, which is read on the topic of commands alone: send Avro here."
    return f"The record begins with {data[:2].hex(' ').upper()}, which is neither Avro (C3 01) nor a JSON object."


def _complaint(error: Exception) -> str:
    match error:
        case Malformed():
            return str(error)
        case UnicodeDecodeError():
            return "holds a text that is cut off or not UTF-8"
        case _:
            return "is cut off"
