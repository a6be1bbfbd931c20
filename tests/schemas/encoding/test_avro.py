"""Tests of the .avsc files: equal to the Struct classes, and compatible between releases."""

from __future__ import annotations

import inspect
import io
import itertools
import json
import shutil
import types
import typing

import fastavro
import msgspec
import pytest
from fastavro.utils import generate_many
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas.encoding import codec
from penstock.schemas.errors import Undecodable
from penstock.schemas.records.tasks import TaskCompleted
from tests.schemas.samples import SEEDED

each_record = pytest.mark.parametrize("name", sorted(codec.RECORDS))
PLAIN = {str: "string", bytes: "bytes", int: "long", bool: "boolean", float: "double"}


@each_record
def test_schema_and_struct_agree(name):
    """Names, types, order, defaults and documentation of the .avsc are those of the Struct."""
    record = codec.RECORDS[name]
    assert codec.schema_of(record) == {"namespace": "penstock", **avro_record(record)}


def test_every_schema_file_has_its_struct():
    """No .avsc is left behind by a record that is gone or renamed."""
    assert {path.name.split(".")[0] for path in codec.AVRO.glob("*.avsc")} == set(codec.RECORDS)


@each_record
def test_a_field_with_a_default_in_python_has_it_in_avro(name):
    """Bytes that lack the optional fields resolve to what the Struct has by default."""
    record = codec.RECORDS[name]
    schema = codec.schema_of(record)
    short = {**schema, "fields": [field for field in schema["fields"] if "default" not in field]}
    for value in generate_many(fastavro.parse_schema(short), 3):
        assert msgspec.convert(resolve(value, short, schema), record) == msgspec.convert(value, record)


@each_record
def test_all_released_versions_understand_each_other(name):
    """Full transitive compatibility: every version of a record reads what every other version wrote."""
    versions = [json.loads(path.read_text("utf-8")) for path in sorted(codec.AVRO.glob(f"{name}.*avsc"))]
    assert codec.schema_of(codec.RECORDS[name]) in versions
    for writer, reader in itertools.product(versions, versions):
        assert incompatibility(writer, reader) is None


BASE = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]}


@pytest.mark.parametrize(
    ("field", "compatible"),
    [
        ({"name": "b", "type": "long", "default": 0}, True),
        ({"name": "b", "type": ["null", "string"], "default": None}, True),
        ({"name": "b", "type": "long"}, False),
    ],
)
def test_what_counts_as_compatible(field, compatible):
    """A field may come with a default and not without."""
    changed = {**BASE, "fields": [*BASE["fields"], field]}
    assert incompatibility(changed, BASE) is None
    assert (incompatibility(BASE, changed) is None) is compatible


@pytest.mark.parametrize("fields", [[{"name": "renamed", "type": "string"}], [{"name": "a", "type": "long"}]])
def test_renaming_and_retyping_are_incompatible(fields):
    """A field that changes its name or its type is found."""
    assert incompatibility(BASE, {**BASE, "fields": fields}) is not None


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    """Header and schema of an earlier TaskCompleted, without `worker` and with a field that was removed since."""
    shutil.copytree(codec.AVRO, tmp_path / "avro")
    schema = codec.schema_of(TaskCompleted)
    fields = [field for field in schema["fields"] if field["name"] != "worker"]
    schema = {**schema, "fields": [*fields, {"name": "host", "type": "string", "default": ""}]}
    (tmp_path / "avro" / "TaskCompleted.1.avsc").write_text(json.dumps(schema), encoding="utf-8")
    monkeypatch.setattr(codec, "AVRO", tmp_path / "avro")
    monkeypatch.setattr(codec, "_readers", {})
    codec._paths.cache_clear()
    yield codec.MAGIC + codec.fingerprint_of(schema), schema
    codec._paths.cache_clear()


def earlier_bytes(earlier):
    header, schema = earlier
    body = io.BytesIO(header)
    body.seek(0, io.SEEK_END)
    value = {"workflow_id": "w", "run_id": "r", "sequence": 1, "attempt": 2, "result": b"3", "host": "h"}
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), value)
    return body.getvalue()


def test_an_earlier_release_is_read(earlier):
    """Bytes of an earlier release become today's record: new fields by default, dropped ones dropped."""
    expected = TaskCompleted(workflow_id="w", run_id="r", sequence=1, attempt=2, result=b"3", worker="")
    assert codec.decode(earlier_bytes(earlier)) == expected
    assert codec.decode(codec.encode(expected)) == expected


def test_broken_bytes_of_an_earlier_release_are_undecodable(earlier):
    """Truncated, extended or modified bytes of an earlier release raise Undecodable and no other error."""
    whole = earlier_bytes(earlier)
    for data in (*(whole[:size] for size in range(10, len(whole))), whole + b"\0"):
        with pytest.raises(Undecodable, match="TaskCompleted"):
            codec.decode(data)

    @SEEDED
    @given(st.binary(max_size=40))
    def survives(body):
        try:
            codec.decode(earlier[0] + body)
        except Undecodable:
            return

    survives()


def avro_record(record: type[msgspec.Struct]) -> dict[str, object]:
    """The schema that corresponds to the Struct."""
    hints = typing.get_type_hints(record)
    fields = []
    for field in msgspec.structs.fields(record):
        entry = {"name": field.name, "type": avro_type(hints[field.name])}
        if not field.required:
            made = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            entry["default"] = avro_default(made)
        fields.append(entry)
    doc = " ".join((inspect.getdoc(record) or "").split())
    return {"type": "record", "name": record.__name__, "doc": doc, "fields": fields}


def avro_type(kind):
    if kind in PLAIN:
        return PLAIN[kind]
    if typing.get_origin(kind) is typing.Literal:
        return "string"
    if typing.get_origin(kind) is dict:
        return {"type": "map", "values": avro_type(typing.get_args(kind)[1])}
    if typing.get_origin(kind) is tuple:
        return {"type": "array", "items": avro_type(typing.get_args(kind)[0])}
    if isinstance(kind, types.UnionType):
        present, absent = typing.get_args(kind)
        assert absent is type(None)
        return ["null", avro_type(present)]
    return avro_record(kind)


def avro_default(value):
    match value:
        case bytes():
            return value.decode("latin-1")
        case tuple():
            return [avro_default(item) for item in value]
        case msgspec.Struct():
            return {name: avro_default(getattr(value, name)) for name in value.__struct_fields__}
    return value


def incompatibility(writer, reader) -> Exception | None:
    """Why `reader` cannot read what `writer` writes; None when it can."""
    for value in generate_many(fastavro.parse_schema(writer), 5):
        try:
            resolve(value, writer, reader)
        except fastavro.read.SchemaResolutionError as error:
            return error
    return None


def resolve(value, writer, reader):
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(writer), value)
    body.seek(0)
    return fastavro.schemaless_reader(body, fastavro.parse_schema(writer), fastavro.parse_schema(reader))
