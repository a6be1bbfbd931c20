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
    "raw_pipe.py": "7404240cad6870ebe14e44a6818737f7b9a233e27fea2358d66a3d8327206bd5",
    "raw_pipe_embedded.py": "5d778adcff9a4c0bbd985498624b7ceba4511e80700dc593b31b52b9b737041d",
}
LIBRARIES = {"raw_pipe.py": {"confluent_kafka"}, "raw_pipe_embedded.py": set()}


@pytest.mark.parametrize("name", FROZEN)
def test_a_raw_pipe_has_the_code_it_was_frozen_with(name):
    """The code that Penstock is compared with is, to the byte, the one on record; its docstring may change."""
    _, _, code = (BENCH / name).read_text("utf-8").split('"""', 2)
    assert hashlib.sha256(code.encode()).hexdigest() == FROZEN[name]


@pytest.mark.parametrize("name", FROZEN)
def test_a_raw_pipe_imports_nothing_of_penstock(name):
    """A raw pipe imports the standard library, and Kafka's client where there is Kafka; nothing else."""
    nodes = ast.walk(ast.parse((BENCH / name).read_text("utf-8")))
    imported = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    nodes = ast.walk(ast.parse((BENCH / name).read_text("utf-8")))
    imported |= {(node.module or "").split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    assert imported - set(sys.stdlib_module_names) == LIBRARIES[name]
