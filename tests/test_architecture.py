"""Tests of the rules for the tree: which module may import which, and what a source file may hold.

The contracts about imports are in pyproject.toml and checked by import-linter (docs/decisions/0012-import-linter.md).
Each other rule is a function from sources to sentences. One test applies a contract or a rule to the tree and expects
nothing; another applies it to a few lines that break it and expects exactly one fault, so that no rule can fall silent.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tools.import_graph import circle, module_imports

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "pyproject.toml"
LINT_TIMEOUT_S = 60
FOLDERS = ("schemas", "topics", "engine", "workers", "penstock")

CORE_LIBRARIES = {*sys.stdlib_module_names, "msgspec"}
LOG_LIBRARIES = {"confluent_kafka", "sqlite3"}  # topics/ alone knows which log runs
STORE_LIBRARIES = {"rocksdict"}  # engine/store alone knows which store runs
IMPURE = {"time", "os", "socket", "secrets", "threading", "subprocess", "ssl"}
IMPURE_CALLS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "uuid.uuid1", "uuid.uuid4"}
MAY_BE_IMPURE: dict[str, str] = {}
MAY_STAND_ALONE = {
    "tests/engine/execution/test_interaction.py": "compares random programs on all ways to host a run",
    "tests/engine/runtime/test_simulation.py": "runs the simulator of tests/simulation over the whole engine",
    "tests/engine/test_transcripts.py": "compares transcripts of the whole engine",
    "tests/penstock/test_public_face.py": "is about penstock/__init__.py",
    "tests/schemas/encoding/test_avro.py": "compares schemas/avro with the records",
    "tests/schemas/encoding/test_golden.py": "decodes the bytes of released versions",
    "tests/schemas/encoding/test_undecodable.py": "is about every decoder",
    "tests/workers/activity/test_typing.py": "runs type checkers over calls of activities",
}
MAY_WRITE_ROWS = (
    "engine/core/evolve.py",
    "engine/core/working.py",
    "engine/core/messages.py",
    "engine/core/expiry.py",
    "engine/core/machines/",
)
MAY_WRITE_LOCAL_ROWS = {
    "engine/runtime/driver.py:_write": "adds the changelog offset, which belongs to the store and not to a run",
}
MAY_SAY_NOT_IMPLEMENTED = {
    "schemas/values/json_hooks.py:_write_model": "msgspec's enc_hook says so that it does not know a type",
}
SKIPPING = {f"pytest.{how}" for how in ("skip", "importorskip", "mark.skip", "mark.skipif", "mark.xfail")}
ODD_WORDS = re.compile(r"\b(nobody|somebody|whoever|told|tells|hears|goodbye|in\s+thought)\b", flags=re.IGNORECASE)
FIRST_SENTENCE = re.compile(r".*?[.?!](?=\s|$)", flags=re.DOTALL)
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
        return parsed(self.text)


@functools.cache
def parsed(text: str) -> ast.Module:
    """The syntax tree of a file; every rule looks at it, none changes it."""
    return ast.parse(text)


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


def rows_written_elsewhere(source: Source) -> Iterator[str]:
    """Only evolve and what it calls may change rows (docs/ARCHITECTURE.md, invariant 5)."""
    if source.path.startswith(MAY_WRITE_ROWS):
        return
    for top in source.tree.body:
        for inner in ast.walk(top):
            function = getattr(inner, "name", "")
            if not isinstance(inner, ast.FunctionDef) or f"{source.path}:{function}" in MAY_WRITE_LOCAL_ROWS:
                continue
            for node in ast.walk(inner):
                if not isinstance(node, ast.Subscript) or isinstance(node.ctx, ast.Load):
                    continue
                if ast.unparse(node.value).split(".")[-1] == "writes":
                    yield f"{source.path}:{node.lineno} changes a row: leave that to an evolve function"


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


def odd_words(source: Source) -> Iterator[str]:
    for line, text in prose(source):
        for word in ODD_WORDS.findall(text):
            yield f"{source.path}:{line} says {' '.join(word.split())!r}: write who does what (STYLE.md, Words)"


def opening_question(source: Source) -> Iterator[str]:
    opening = FIRST_SENTENCE.match(ast.get_docstring(source.tree) or "")
    if opening and "?" in opening[0]:
        yield f"{source.path} opens with a question: say in a noun phrase what the file is"


def unmirrored_tests(source: Source) -> Iterator[str]:
    path = Path(source.path)
    if not path.name.startswith("test_") or path.parts[1] not in FOLDERS or source.path in MAY_STAND_ALONE:
        return
    name = path.stem.removeprefix("test_")
    mirrored = path.parent.relative_to("tests")
    if not any(name == module or name.startswith(f"{module}_") for module in modules_in(mirrored)):
        yield f"{source.path} names no module of {mirrored}"


def prose(source: Source) -> Iterator[tuple[int, str]]:
    """Line and text of every comment and of every string, docstrings and the fixed parts of f-strings included."""
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def modules_in(folder: Path) -> set[str]:
    """Names that a test of the folder may begin with: its modules, its packages, and its own."""
    inside = [path for path in (ROOT / folder).iterdir() if not path.is_symlink()] if (ROOT / folder).is_dir() else []
    modules = {path.stem for path in inside if path.suffix == ".py" and path.stem != "__init__"}
    return modules | {path.name for path in inside if (path / "__init__.py").exists()} | {folder.name}


# --- the rules applied to the tree, and to what breaks them ------------------------------------------------------

Rule = Callable[[Source], Iterator[str]]
EVERYWHERE = (*FOLDERS, "tests", "examples", "bench", "tools")

RULES: dict[Rule, tuple[str, ...]] = {
    relative_or_bare: EVERYWHERE,
    foreign_in_core: ("engine",),
    impure_core: ("engine",),
    rows_written_elsewhere: ("engine",),
    libraries_out_of_place: FOLDERS,
    too_long: EVERYWHERE,
    prints: FOLDERS,
    unfinished: EVERYWHERE,
    claimless_tests: ("tests",),
    skipped_tests: ("tests",),
    odd_words: (*FOLDERS, "tools", "bench"),
    opening_question: EVERYWHERE,
    unmirrored_tests: tuple(f"tests/{folder}" for folder in FOLDERS),
}

BREACHES: list[tuple[Rule, str, str]] = [
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
    (rows_written_elsewhere, "engine/runtime/a.py", "def f(layer):\n    layer.writes[b'x'] = b''"),
    (prints, "engine/a.py", "print('hello')"),
    (unfinished, "engine/a.py", "def f():\n    raise NotImplementedError('later')"),
    (claimless_tests, "tests/test_a.py", "def test_it():\n    assert True"),
    (skipped_tests, "tests/test_a.py", "import pytest\n@pytest.mark.skip\ndef test_it(): ..."),
    (odd_words, "engine/a.py", '"""Nobody waits for it."""'),
    (odd_words, "engine/a.py", "x = 1  # as the caller was told"),
    (odd_words, "engine/a.py", "raise ValueError(f'{x} hears of it')"),
    (odd_words, "engine/a.py", 'def f():\n    """Try it in\n    thought."""'),
    (opening_question, "engine/a.py", '"""What is decided? All of it."""'),
    (opening_question, "tests/test_a.py", '"""Does engine.core answer\nalways?"""'),
    (unmirrored_tests, "tests/topics/test_nothing_of_the_kind.py", ""),
    (unmirrored_tests, "tests/workers/intake/test_worker.py", ""),
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
    for place in (*MAY_BE_IMPURE, *MAY_SAY_NOT_IMPLEMENTED, *MAY_STAND_ALONE):
        path, _, function = place.partition(":")
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        assert not function or function in {found.name for found in functions(tree)}, place


def test_links_point_at_the_folders():
    """Inside penstock/ the four folders are links to their neighbours, for checkers and uninstalled runs."""
    for folder in FOLDERS[:-1]:
        link = ROOT / "penstock" / folder
        assert link.is_symlink(), f"penstock/{folder} is no link"
        assert link.readlink() == Path("..", folder)


# --- the contracts about imports ---------------------------------------------------------------------------------

CONTRACTS = [each["id"] for each in tomllib.loads(PROJECT.read_text("utf-8"))["tool"]["importlinter"]["contracts"]]

# Contract, and the files that break it when they are added to a tree of empty modules.
BROKEN: list[tuple[str, dict[str, str]]] = [
    ("folders", {"schemas/values/a.py": "import penstock.topics.log"}),
    ("folders", {"schemas/records/a.py": "from penstock import Client"}),
    ("folders", {"topics/a.py": "def f():\n    from penstock.engine import core"}),
    ("folders", {"topics/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import penstock.workers"}),
    ("folders", {"workers/intake/a.py": "from penstock.engine.core import decide"}),
    ("folders", {"engine/runtime/a.py": "from penstock.workers import worker"}),
    ("folders", {"engine/store/a.py": "import penstock"}),
    ("folders", {"penstock/client/a.py": "from penstock import api"}),
    ("folders", {"penstock/api/a.py": "import penstock.hosting"}),
    ("folders", {"penstock/hosting/a.py": "from penstock import testing"}),
    ("folders", {"penstock/testing/a.py": "from penstock import cli"}),
    ("folders", {"penstock/observe/a.py": "from penstock import config"}),
    ("folders", {"penstock/placeless.py": ""}),
    ("schemas", {"schemas/errors.py": "import penstock.schemas.values"}),
    ("schemas", {"schemas/ids.py": "import penstock.schemas.records"}),
    ("schemas", {"schemas/values/a.py": "import penstock.schemas.records"}),
    ("schemas", {"schemas/records/a.py": "import penstock.schemas.encoding"}),
    ("schemas", {"schemas/placeless.py": ""}),
    ("adapters", {"topics/kafka/a.py": "import penstock.topics.embedded"}),
    ("adapters", {"topics/log.py": "import penstock.topics.connect"}),
    ("engine", {"engine/core/a.py": "import penstock.engine.authoring"}),
    ("engine", {"engine/execution/a.py": "import penstock.engine.authoring"}),
    ("engine", {"engine/execution/a.py": "import penstock.engine.runtime"}),
    ("engine", {"engine/execution/a.py": "import penstock.engine.store"}),
    ("engine", {"engine/core/b.py": "import penstock.engine.execution"}),
    ("engine", {"engine/placeless.py": ""}),
    ("core", {"engine/core/machines/a.py": "import penstock.schemas.encoding"}),
    ("core", {"engine/core/a.py": "import penstock.topics.log"}),
    ("core", {"engine/core/a.py": "import penstock.engine.store"}),
    ("workflow-code", {"engine/authoring/a.py": "import penstock.topics.log"}),
    ("workflow-code", {"engine/execution/a.py": "import penstock.topics.log"}),
    ("workers", {"workers/activity/a.py": "import penstock.workers.intake"}),
    ("workers", {"workers/execution/a.py": "import penstock.workers.worker"}),
    ("workers", {"workers/placeless.py": ""}),
    (
        "cycles",
        {
            "workers/execution/a.py": "import penstock.workers.intake.a",
            "workers/intake/a.py": "",
            "workers/intake/b.py": "import penstock.workers.execution",
        },
    ),
    (
        "cycles",
        {
            "engine/core/machines/a.py": "import penstock.engine.core.machines.b",
            "engine/core/machines/b.py": "def f():\n    import penstock.engine.core.machines.a",
        },
    ),
]


@pytest.fixture(scope="module")
def bare_tree(tmp_path_factory) -> Path:
    """All our modules without their content, linked as in the real tree; the public face keeps its imports."""
    target = tmp_path_factory.mktemp("tree")
    for source in sources(*FOLDERS):
        path = target / source.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source.text if source.module == "penstock" else "", "utf-8")
    for folder in FOLDERS[:-1]:
        (target / "penstock" / folder).symlink_to(Path("..", folder))
    return target


def lint(tree: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter in a tree, on our contracts."""
    limits = [argument for contract in contracts for argument in ("--contract", contract)]
    program = "from importlinter.cli import lint_imports_command as run; run()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-logo", "--no-cache", *limits, str(PROJECT)],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=LINT_TIMEOUT_S,
        check=False,
    )


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_tree_keeps_the_contract(contract):
    """No import of the package breaks the contract."""
    done = lint(ROOT, contract)
    assert "Contracts: 1 kept, 0 broken." in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_a_bare_tree_keeps_every_contract(bare_tree):
    """Without imports no contract is broken, so that what the next test adds is what breaks one."""
    done = lint(bare_tree)
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(("contract", "files"), BROKEN, ids=[f"{name}-{'-'.join(files)}" for name, files in BROKEN])
def test_a_broken_contract_is_noticed(bare_tree, tmp_path, contract: str, files: Mapping[str, str]):
    """Each import against a contract breaks it, whether it stands in a function or is made for type checkers alone."""
    tree = shutil.copytree(bare_tree, tmp_path / "tree", symlinks=True)
    for path, text in files.items():
        (tree / path).write_text(text, "utf-8")
    done = lint(tree, contract)
    assert "Contracts: 0 kept, 1 broken." in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1


def test_every_contract_is_broken_once():
    """Each contract is shown at least one import that breaks it."""
    assert {contract for contract, _ in BROKEN} == set(CONTRACTS)


def test_the_linter_sees_every_module():
    """The import graph has every module of the five folders, those behind the links included, and no other."""
    assert module_imports().keys() == {source.module for source in sources(*FOLDERS)}


def test_no_modules_import_each_other_in_a_circle():
    """No module imports itself by way of others, not even by way of the package around it."""
    assert not circle(module_imports())
