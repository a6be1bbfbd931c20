"""Tests of rows: their fields keep their places, since a row is an array."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import msgspec
import pytest

from penstock.engine.core import rows

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "rows.json").read_text("utf-8"))
ROWS = {
    name: kind
    for name, kind in vars(rows).items()
    if inspect.isclass(kind) and issubclass(kind, msgspec.Struct) and kind.__module__ == rows.__name__
}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_row_grows_at_its_end(name):
    """Fields of a row have the recorded order; a new one follows them, with a default. Add it to rows.json there."""
    fields = msgspec.structs.fields(ROWS[name])
    assert [field.name for field in fields] == GOLDEN[name]


def test_every_recorded_row_exists():
    """rows.json names no row that the engine has not."""
    assert GOLDEN.keys() == ROWS.keys()
