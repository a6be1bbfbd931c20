"""Tests of the public names: they match their types, and load lazily."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import penstock
from penstock.schemas import errors
from penstock.schemas.encoding.record_types import EVENTS


def declared():
    """Yield (public name, its module, its name there) as a type checker sees them."""
    tree = ast.parse(Path(penstock.__file__).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("penstock."):
            yield from ((alias.asname or alias.name, node.module, alias.name) for alias in node.names)


def test_every_name_is_the_one_declared():
    """Each public name is at run time the object that a type checker sees, and there is no other."""
    names = {name: (module, known_as) for name, module, known_as in declared()}
    assert sorted(names) == sorted(penstock.__all__)
    for name, (module, known_as) in names.items():
        assert getattr(penstock, name) is getattr(importlib.import_module(module), known_as)
    assert set(penstock.__all__) <= set(dir(penstock))


def test_every_error_is_public():
    """Every error can be imported from `penstock`."""
    defined = {
        name: found for name, found in vars(errors).items() if getattr(found, "__module__", "") == errors.__name__
    }
    public = {name for name, found in defined.items() if isinstance(found, type) and not name.startswith("_")}
    assert public
    assert public <= set(penstock.__all__)


def test_no_error_shares_its_name_with_an_event():
    """An exception and an event with one name would be confused; the short public names are aliases."""
    public = {name for name, found in vars(errors).items() if isinstance(found, type)}
    assert not public & set(EVENTS)
    assert penstock.WorkflowFailed is errors.WorkflowFailedError


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
