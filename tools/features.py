"""The page docs/reference/features.md, from the list of features."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
FILE = Path(__file__).with_suffix(".toml")

_INTRODUCTION = """\
# Features

What a program can do with runs while they live, and the tests that hold it: how to wait for others, to read and to call
a run, to start, continue and stop it. What happens when something goes wrong is on the page of
[reliability](reliability.md); the names are explained on that of [Python](python.md)."""


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row. `names`: public names by which it is used; `tests`: `file::name`."""

    group: str
    says: str
    names: list[str]
    tests: list[str]


def features() -> list[Feature]:
    """All rows, in the order of the file."""
    return msgspec.convert(tomllib.loads(FILE.read_text("utf-8"))["feature"], list[Feature])


def page() -> Iterator[str]:
    """The lines of the page."""
    yield _INTRODUCTION
    for group, found in groupby(features(), key=lambda feature: feature.group):
        yield from ("", f"## {group}", "", "| what holds | names | tests |", "|---|---|---|")
        for feature in found:
            names = ", ".join(f"`{name}`" for name in feature.names)
            yield f"| {feature.says} | {names} | {', '.join(map(_link, feature.tests))} |"


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[`{name}`](../../{path})"
