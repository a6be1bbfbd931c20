"""Tests of released encodings. tests/golden/records.json contains their bytes; lines are only ever added."""

from __future__ import annotations

import json

import msgspec
import pytest

from penstock.schemas.encoding import codec
from tests.schemas.samples import GOLDEN, golden_line

LINES = json.loads(GOLDEN.read_text(encoding="utf-8"))
CURRENT = {codec.encode(msgspec.convert(line["value"], codec.RECORDS[line["record"]]))[2:10].hex() for line in LINES}


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line['record']}-{line['fingerprint'][:6]}")
def test_released_bytes_are_read(line):
    """Bytes written by a release decode to the same record."""
    expected = msgspec.convert(line["value"], codec.RECORDS[line["record"]])
    assert codec.decode(bytes.fromhex(line["wire"])) == expected


@pytest.mark.parametrize(
    "line", [line for line in LINES if line["fingerprint"] in CURRENT], ids=lambda line: line["record"]
)
def test_current_bytes_are_written(line):
    """A current schema writes the same bytes as when it was released."""
    value = msgspec.convert(line["value"], codec.RECORDS[line["record"]])
    assert codec.encode(value).hex() == line["wire"]


@pytest.mark.parametrize("name", sorted(codec.RECORDS))
def test_every_schema_has_its_golden_line(name):
    """No schema changes unnoticed: its fingerprint stands in the golden file.

    After a deliberate change of a released schema keep the old one as avro/<Record>.<n>.avsc, then run
    `python -m tests.schemas.samples`, which adds a line and takes none away.
    """
    fingerprint = golden_line(codec.RECORDS[name])["fingerprint"]
    assert (name, fingerprint) in {(line["record"], line["fingerprint"]) for line in LINES}
