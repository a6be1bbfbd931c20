"""Does the tree keep its own rules? Reads every source file as a syntax tree and holds it to docs/ARCHITECTURE.md.

Each rule is a function from sources to sentences. One test applies it to the tree and finds nothing; another applies it
to a few lines that break it and finds just that, so that no rule can fall silent.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("schemas", "topics", "engine", "workers", "penstock")

# Longest matching prefix decides. Every part may import itself, and of ours nothing but this:
# schemas ← topics ← {engine, workers} ← penstock
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "penstock.schemas": ("penstock.schemas",),
    "penstock.topics": ("penstock.topics", "penstock.schemas"),
    "penstock.workers": ("penstock.workers", "penstock.topics", "penstock.schemas"),
    "penstock.engine.core": ("penstock.engine.core", "penstock.schemas"),
    "penstock.engine": ("penstock.engine", "penstock.topics", "penstock.schemas"),
    "penstock": ("penstock",),
}
CORE_LIBRARIES = {*sys.stdlib_module_names, "msgspec"}
LOG_LIBRARIES = {"confluent_kafka", "sqlite3"}  # topics/ alone knows which log runs
STORE_LIBRARIES = {"rocksdict"}  # engine/store alone knows which store runs
IMPURE = {"time", "os", "socket", "secrets", "threading", "subprocess", "ssl"}
IMPURE_CALLS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "uuid.uuid1", "uuid.uuid4"}
MAY_BE_IMPURE: dict[str, str] = {}
MAY_SAY_NOT_IMPLEMENTED = {
    "schemas/values/json_hooks.py:_write_model": "msgspec's enc_hook says so that it does not know a type",
}
SKIPPING = {f"pytest.{how}" for how in ("skip", "importorskip", "mark.skip", "mark.skipif", "mark.xfail")}
SPEAKS = ("penstock/cli", "penstock/__main__")

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600


class Source(NamedTuple):
    """A Python file: its path under the root, the name it is imported by (empty outside of the package), its text."""

    path: str
    module: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)


def sources(*folders: str) -> list[Source]:
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if _reached_by_link(path):
                continue
            relative = path.relative_to(ROOT)
            found.append(Source(str(relative), _module_name(relative), path.read_text("utf-8")))
    return found


def _reached_by_link(path: Path) -> bool:
    """penstock/engine and its neighbours are links for type checkers; each file counts once."""
    return path.resolve() != path


def _module_name(relative: Path) -> str:
    if relative.parts[0] not in FOLDERS:
        return ""
    parts = relative.with_suffix("").parts
    inside = parts if parts[0] == "penstock" else ("penstock", *parts)
    return ".".join(inside[:-1] if inside[-1] == "__init__" else inside)


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Line and full name of everything the file imports; `from a import b` gives `a.b`, so that modules are seen."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


# --- the rules ---------------------------------------------------------------------------------------------------


def against_the_arrows(source: Source) -> Iterator[str]:
    owner = max((part for part in MAY_IMPORT if within(source.module, part)), key=len, default=None)
    if owner is None:
        return
    for line, name in imports(source):
        if within(name, "penstock") and not within(name, *MAY_IMPORT[owner]):
            yield f"{source.path}:{line} {owner} may not import {name}"


def relative_or_bare(source: Source) -> Iterator[str]:
    for line, name in imports(source):
        if within(name, "engine", "topics", "schemas", "workers") or name.startswith("."):
            yield f"{source.path}:{line} imports {name}: write its full name, penstock.…"


def foreign_in_core(source: Source) -> Iterator[str]:
    if within(source.module, "penstock.engine.core"):
        for line, name in imports(source):
            if name.split(".")[0] not in CORE_LIBRARIES and not within(name, "penstock"):
                yield f"{source.path}:{line} the core imports {name}"


def impure_core(source: Source) -> Iterator[str]:
    if not within(source.module, "penstock.engine.core") or source.path in MAY_BE_IMPURE:
        return
    for line, name in imports(source):
        if name.split(".")[0] in IMPURE or (name.startswith("random.") and name != "random.Random"):
            yield f"{source.path}:{line} the core imports {name}"
    chance = {
        alias.asname or alias.name
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "random"
    }
    for function, node in _attributes(source.tree):
        spoken = ast.unparse(node)
        impure = spoken in IMPURE_CALLS or (spoken.split(".")[0] in chance and node.attr != "Random")
        if impure and f"{source.path}:{function}" not in MAY_BE_IMPURE:
            yield f"{source.path}:{node.lineno} the core uses {spoken}"


def _attributes(tree: ast.Module) -> Iterator[tuple[str, ast.Attribute]]:
    """Every `a.b` with the name of the top-level function around it."""
    for top in tree.body:
        name = getattr(top, "name", "")
        yield from ((name, node) for node in ast.walk(top) if isinstance(node, ast.Attribute))


def libraries_out_of_place(source: Source) -> Iterator[str]:
    for line, name in imports(source):
        library = name.split(".")[0]
        if library in LOG_LIBRARIES and not within(source.module, "penstock.topics"):
            yield f"{source.path}:{line} only topics/ imports {library}"
        if library in STORE_LIBRARIES and not within(source.module, "penstock.engine.store"):
            yield f"{source.path}:{line} only engine/store imports {library}"
        if library in {"pickle", "marshal", "shelve", "dill", "cloudpickle"}:
            yield f"{source.path}:{line} imports {library}: nothing of ours is ever unpickled"


def too_long(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{source.path} has {lines} lines, more than {FILE_LINES_MAX}"
    for function in functions(source.tree):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > FUNCTION_LINES_MAX:
            yield f"{source.path}:{function.lineno} {function.name} has {length} lines, more than {FUNCTION_LINES_MAX}"


def prints(source: Source) -> Iterator[str]:
    if source.path.startswith(SPEAKS):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{source.path}:{node.lineno} prints: use structlog, or return text to the command line"


def unfinished(source: Source) -> Iterator[str]:
    for top in source.tree.body:
        if f"{source.path}:{getattr(top, 'name', '')}" in MAY_SAY_NOT_IMPLEMENTED:
            continue
        for node in ast.walk(top):
            if isinstance(node, ast.Raise) and node.exc is not None and "NotImplemented" in ast.unparse(node.exc):
                yield f"{source.path}:{node.lineno} raises NotImplementedError: leave out what is not there yet"


def claimless_tests(source: Source) -> Iterator[str]:
    if not Path(source.path).name.startswith("test_"):
        return
    for function in functions(source.tree):
        if function.name.startswith("test_") and not ast.get_docstring(function):
            yield f"{source.path}:{function.lineno} {function.name} does not say what it claims"


def skipped_tests(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in SKIPPING:
            yield f"{source.path}:{node.lineno} uses {ast.unparse(node)}: a skipped test is not a passed one"


# --- the rules applied to the tree, and to what breaks them ------------------------------------------------------

Rule = Callable[[Source], Iterator[str]]
EVERYWHERE = (*FOLDERS, "tests", "examples", "bench", "tools")

RULES: dict[Rule, tuple[str, ...]] = {
    against_the_arrows: FOLDERS,
    relative_or_bare: EVERYWHERE,
    foreign_in_core: ("engine",),
    impure_core: ("engine",),
    libraries_out_of_place: FOLDERS,
    too_long: EVERYWHERE,
    prints: FOLDERS,
    unfinished: EVERYWHERE,
    claimless_tests: ("tests",),
    skipped_tests: ("tests",),
}

BREACHES: list[tuple[Rule, str, str]] = [
    (against_the_arrows, "schemas/a.py", "import penstock.topics.log"),
    (against_the_arrows, "schemas/a.py", "from penstock import Client"),
    (against_the_arrows, "schemas/a.py", "def f():\n    from penstock.engine import core"),
    (against_the_arrows, "topics/a.py", "from penstock.workers.worker import Worker"),
    (against_the_arrows, "workers/a.py", "from penstock.engine.core import decide"),
    (against_the_arrows, "engine/a.py", "from penstock.workers import worker"),
    (against_the_arrows, "engine/a.py", "import penstock"),
    (against_the_arrows, "engine/core/a.py", "from penstock.engine.store.store import Store"),
    (against_the_arrows, "engine/core/a.py", "from penstock.topics.log import Record"),
    (relative_or_bare, "engine/a.py", "import engine.core"),
    (relative_or_bare, "tests/a.py", "from schemas import events"),
    (relative_or_bare, "engine/a.py", "from . import core"),
    (foreign_in_core, "engine/core/a.py", "import pydantic"),
    (impure_core, "engine/core/a.py", "import time"),
    (impure_core, "engine/core/a.py", "from os import environ"),
    (impure_core, "engine/core/a.py", "import random as r\nr.random()"),
    (impure_core, "engine/core/a.py", "from random import choice"),
    (impure_core, "engine/core/a.py", "from datetime import datetime\ndef f():\n    return datetime.now()"),
    (libraries_out_of_place, "workers/a.py", "import confluent_kafka"),
    (libraries_out_of_place, "penstock/a.py", "import sqlite3"),
    (libraries_out_of_place, "engine/runtime/a.py", "from rocksdict import Rdict"),
    (libraries_out_of_place, "schemas/a.py", "import pickle"),
    (too_long, "schemas/a.py", "\n" * (FILE_LINES_MAX + 1)),
    (too_long, "schemas/a.py", "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX),
    (prints, "engine/a.py", "print('hello')"),
    (unfinished, "engine/a.py", "def f():\n    raise NotImplementedError('later')"),
    (claimless_tests, "tests/test_a.py", "def test_it():\n    assert True"),
    (skipped_tests, "tests/test_a.py", "import pytest\n@pytest.mark.skip\ndef test_it(): ..."),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule):
    """No file of the folders that a rule speaks of breaks it."""
    looked_at = sources(*RULES[rule])
    assert looked_at, "the rule saw no file at all"
    broken = [sentence for source in looked_at for sentence in rule(source)]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(("rule", "path", "text"), BREACHES)
def test_a_breach_is_noticed(rule, path, text):
    """A rule finds exactly one fault in a few lines that break it."""
    assert len(list(rule(Source(path, _module_name(Path(path)), text)))) == 1


def test_every_rule_has_a_breach():
    """Each rule is shown at least one file that breaks it."""
    assert {rule for rule, _, _ in BREACHES} == set(RULES)


def test_every_exception_is_still_needed():
    """Each place that a rule excepts exists; otherwise the exception would outlive its reason."""
    for place in (*MAY_BE_IMPURE, *MAY_SAY_NOT_IMPLEMENTED):
        path, _, function = place.partition(":")
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        assert not function or function in {found.name for found in functions(tree)}, place


def test_links_point_at_the_folders():
    """Inside penstock/ the four folders are links to their neighbours, for checkers and uninstalled runs."""
    for folder in FOLDERS[:-1]:
        link = ROOT / "penstock" / folder
        assert link.is_symlink(), f"penstock/{folder} is no link"
        assert link.readlink() == Path("..", folder)
