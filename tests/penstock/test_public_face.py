"""Is the public face what its types promise?"""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import penstock
from penstock.schemas import errors


def promised():
    """What a type checker sees: public name -> the module that it is imported from."""
    tree = ast.parse(Path(penstock.__file__).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("penstock."):
            yield from ((alias.name, node.module) for alias in node.names)


def test_every_name_is_the_one_promised():
    """Each public name is at run time the object that a type checker takes it for, and nothing else is public."""
    names = dict(promised())
    assert sorted(names) == penstock.__all__
    for name, home in names.items():
        assert getattr(penstock, name) is getattr(importlib.import_module(home), name)
    assert set(penstock.__all__) <= set(dir(penstock))


def test_every_error_is_public():
    """Whoever catches an error finds it where everything else is imported from."""
    defined = {
        name: found for name, found in vars(errors).items() if getattr(found, "__module__", "") == errors.__name__
    }
    public = {name for name, found in defined.items() if isinstance(found, type) and not name.startswith("_")}
    assert public
    assert public <= set(penstock.__all__)


def test_a_name_that_is_not_there():
    """A wrong name is an AttributeError, and an import of it an ImportError, as in any module."""
    with pytest.raises(AttributeError, match="'penstock' has no attribute 'workfolw'"):
        _ = penstock.workfolw
    with pytest.raises(ImportError):
        exec("from penstock import workfolw")


def test_nothing_is_loaded_in_advance():
    """Importing the package alone loads none of its libraries; a workflow's module loads no web server."""
    tell = "import sys, penstock\nprint(*sys.modules)\nfrom penstock import activity, workflow\nprint(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", tell],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    package, workflows = (set(line.split()) for line in told.stdout.splitlines())
    assert not package & {"asyncio", "pydantic", "httpx", "structlog", "msgspec"}
    assert not workflows & {"uvicorn", "starlette", "httpx", "confluent_kafka"}
