"""Tests of the public names: they match their types, and load lazily."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import penstock
from penstock.schemas import errors


def declared():
    """Yield (public name, module that it is imported from) as a type checker sees them."""
    tree = ast.parse(Path(penstock.__file__).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("penstock."):
            yield from ((alias.name, node.module) for alias in node.names)


def test_every_name_is_the_one_declared():
    """Each public name is at run time the object that a type checker sees, and there is no other."""
    names = dict(declared())
    assert sorted(names) == penstock.__all__
    for name, module in names.items():
        assert getattr(penstock, name) is getattr(importlib.import_module(module), name)
    assert set(penstock.__all__) <= set(dir(penstock))


def test_every_error_is_public():
    """Every error can be imported from `penstock`."""
    found = {name for name, error in vars(errors).items() if isinstance(error, type) and not name.startswith("_")}
    assert found - {"TYPE_CHECKING"} <= set(penstock.__all__)


def test_an_unknown_name():
    """An unknown name is an AttributeError, and its import an ImportError."""
    with pytest.raises(AttributeError, match="'penstock' has no attribute 'workfolw'"):
        _ = penstock.workfolw
    with pytest.raises(ImportError):
        exec("from penstock import workfolw")


def test_nothing_is_loaded_in_advance():
    """Importing the package loads no library; importing decorators loads no web server."""
    program = "import sys, penstock\nprint(*sys.modules)\nfrom penstock import activity, workflow\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    package, workflows = (set(line.split()) for line in done.stdout.splitlines())
    assert not package & {"asyncio", "pydantic", "httpx", "structlog", "msgspec"}
    assert not workflows & {"uvicorn", "starlette", "httpx", "confluent_kafka"}
