"""Tests that the raw pipes are frozen: a change of one must change its hash here too."""

from __future__ import annotations

import ast
import hashlib
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
# A new hash means that figures measured before cannot be compared with those measured after.
FROZEN = {
    "raw_pipe.py": "2d0a13506872d5b43611f99b18758145c55897f666e0726321803b6979b3e327",
    "raw_pipe_embedded.py": "f520b3b18ed3978b1dd6b7b5039bee92daa31ac7dbe5294ed90ce84acaefd7a5",
}
LIBRARIES = {"raw_pipe.py": {"confluent_kafka"}, "raw_pipe_embedded.py": set()}


@pytest.mark.parametrize("name", FROZEN)
def test_a_raw_pipe_has_the_bytes_it_was_frozen_with(name):
    """The program that Penstock is compared with is, to the byte, the one on record."""
    assert hashlib.sha256((BENCH / name).read_bytes()).hexdigest() == FROZEN[name]


@pytest.mark.parametrize("name", FROZEN)
def test_a_raw_pipe_imports_nothing_of_penstock(name):
    """A raw pipe imports the standard library, and Kafka's client where there is Kafka; nothing else."""
    nodes = ast.walk(ast.parse((BENCH / name).read_text("utf-8")))
    imported = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    nodes = ast.walk(ast.parse((BENCH / name).read_text("utf-8")))
    imported |= {(node.module or "").split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    assert imported - set(sys.stdlib_module_names) == LIBRARIES[name]
