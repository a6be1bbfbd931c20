"""Samples of records: a fixed one of each type, and strategies for arbitrary ones.

python -m tests.schemas.samples      adds a golden line for each schema that has none yet
"""

from __future__ import annotations

import json
import sys
import types
import typing
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st

from penstock.schemas.encoding import codec
from penstock.schemas.encoding.wire import LONG_MAX, LONG_MIN

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "records.json"
SEEDED = settings(derandomize=True, deadline=None, database=None, max_examples=60)
"""The same examples each time; hypothesis prints the one that fails."""

STRATEGIES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(),
    bytes: st.binary(),
    int: st.one_of(st.integers(LONG_MIN, LONG_MAX), st.integers(-200, 200)),
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
}


def hints_of(record: type[msgspec.Struct]) -> dict[str, Any]:
    """The types of a record's fields."""
    hints = typing.get_type_hints(record)
    return {field: hints[field] for field in record.__struct_fields__}


def any_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values that an annotation of a record allows."""
    if kind in STRATEGIES:
        return STRATEGIES[kind]
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return st.lists(any_of(arguments[0]), max_size=4).map(tuple)
    if typing.get_origin(kind) is dict:
        return st.dictionaries(any_of(arguments[0]), any_of(arguments[1]), max_size=4)
    if typing.get_origin(kind) is typing.Literal:
        return st.sampled_from(arguments)
    if isinstance(kind, types.UnionType):
        return st.one_of(*(st.none() if argument is type(None) else any_of(argument) for argument in arguments))
    return st.builds(kind, **{name: any_of(hint) for name, hint in hints_of(kind).items()})


def sample_of(kind: Any, name: str = "") -> Any:
    """One fixed value in which no two fields of a record look alike."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is dict:
        return {f"{name}-key é": sample_of(arguments[1], f"{name}-value")}
    if typing.get_origin(kind) is typing.Literal:
        return arguments[-1]
    if typing.get_origin(kind) is tuple:
        return (sample_of(arguments[0], f"{name}-1"), sample_of(arguments[0], f"{name}-2"))
    if isinstance(kind, types.UnionType):
        return sample_of(next(argument for argument in arguments if argument is not type(None)), name)
    number = sum(name.encode())
    plain: dict[Any, Any] = {
        str: f"{name} é",
        bytes: b"\x00\xff" + name.encode(),
        int: number if number % 2 else -number,
        bool: True,
        float: 0.5,
    }
    if kind in plain:
        return plain[kind]
    return kind(**{field: sample_of(hint, field) for field, hint in hints_of(kind).items()})


def golden_line(record: type[msgspec.Struct]) -> dict[str, Any]:
    sample = sample_of(record)
    wire = codec.encode(sample)
    return {
        "record": record.__name__,
        "fingerprint": wire[2:10].hex(),
        "wire": wire.hex(),
        "value": msgspec.to_builtins(sample),
    }


def main() -> None:
    lines = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else []
    known = {line["fingerprint"] for line in lines}
    added = [line for record in codec.RECORDS.values() if (line := golden_line(record))["fingerprint"] not in known]
    rows = ",\n".join(json.dumps(line, ensure_ascii=False) for line in [*lines, *added])
    GOLDEN.write_text(f"[\n{rows}\n]\n", encoding="utf-8")
    sys.stdout.write(f"{len(added)} lines added to {GOLDEN.name}: {', '.join(line['record'] for line in added)}\n")


if __name__ == "__main__":
    main()
