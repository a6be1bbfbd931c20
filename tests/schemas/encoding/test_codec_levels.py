"""Tests of feature levels: a record is written as the programs of the namespace's level know it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from penstock.schemas.encoding import codec
from penstock.schemas.records.tasks import TaskCompleted
from tools.avro import schema_of, text_of


class TaskNoted(msgspec.Struct, frozen=True, kw_only=True):
    """A record of level 2."""

    SINCE: ClassVar[int] = 2

    note: str = ""


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """TaskCompleted as changed by level 2, which added `worker`; TaskNoted as new in it. The earlier schema."""
    shutil.copytree(codec.AVRO, tmp_path / "avro")
    schema = codec.schema_of(TaskCompleted)
    before = {**schema, "fields": [field for field in schema["fields"] if field["name"] != "worker"]}
    for name, content in (
        ("TaskCompleted.1", json.dumps(before)),
        ("TaskCompleted", json.dumps({**schema, "level": 2})),
        ("TaskNoted", text_of(schema_of(TaskNoted))),
    ):
        (tmp_path / "avro" / f"{name}.avsc").write_text(content, encoding="utf-8")
    monkeypatch.setattr(codec, "AVRO", tmp_path / "avro")
    monkeypatch.setattr(codec, "RECORDS", {**codec.RECORDS, "TaskNoted": TaskNoted})
    monkeypatch.setattr(codec, "_readers", {})
    monkeypatch.setattr(codec, "_writers", codec._Writers())
    codec._paths.cache_clear()
    yield before
    codec._paths.cache_clear()


def completed(worker: str) -> TaskCompleted:
    return TaskCompleted(workflow_id="w", run_id="r", sequence=1, attempt=2, result=b"3", worker=worker)


def test_a_changed_record_is_written_with_the_schema_of_the_level(earlier: dict[str, Any]) -> None:
    """Below level 2 the bytes have the earlier schema, which older programs read; from it on the current one."""
    fingerprints = []
    for level in (1, 2):
        codec.write_at(level)
        wire = codec.encode(completed(""))
        assert codec.decode(wire) == completed("")
        fingerprints.append(wire[2:10])
    assert fingerprints[0] == codec.fingerprint_of(earlier)
    assert fingerprints[1] != fingerprints[0]


def test_a_value_that_the_earlier_schema_would_lose_is_refused(earlier: dict[str, Any]) -> None:
    """A field of level 2 that is set below it is an error of the program, and nothing is written."""
    codec.write_at(1)
    with pytest.raises(AssertionError, match=r"TaskCompleted\.worker is of a level that is not written yet"):
        codec.encode(completed("anna"))
    codec.write_at(2)
    assert codec.decode(codec.encode(completed("anna"))) == completed("anna")


@pytest.mark.usefixtures("earlier")
def test_a_new_record_is_written_from_its_level_on() -> None:
    """A record type of level 2 cannot be written below it; its schema file names the level."""
    codec.write_at(1)
    with pytest.raises(AssertionError, match="TaskNoted is of level 2, but level 1 is written"):
        codec.encode(TaskNoted(note="x"))
    codec.write_at(2)
    assert codec.decode(codec.encode(TaskNoted(note="x"))) == TaskNoted(note="x")
