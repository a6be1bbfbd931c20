"""Tests of the names that tests give to workflows and activities.

Every process that runs tests imports all of their modules, and the command line hosts all that is imported: two
activities of a name would make it refuse to start in tests that know neither."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("tests", "examples")
NOT_IMPORTED = "tests/typing"  # type checkers read it
DECORATORS = {"activity", "workflow"}

Named = tuple[str, str, int]


def definitions(path: Path) -> Iterator[tuple[Named, str]]:
    """Decorator, name and version of each workflow and activity at the top of a module, and its place."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            call = decorator.func if isinstance(decorator, ast.Call) else decorator
            kind = ast.unparse(call).rpartition(".")[2]
            if kind in DECORATORS:
                given = decorator.keywords if isinstance(decorator, ast.Call) else []
                literals = {one.arg: one.value.value for one in given if isinstance(one.value, ast.Constant)}
                named = (kind, str(literals.get("name", node.name)), int(literals.get("version", 1)))
                yield named, f"{path.relative_to(ROOT)}:{node.lineno}"


def test_no_two_workflows_or_activities_of_tests_have_one_name() -> None:
    """Each name, with its version, is that of one function among the tests and examples."""
    places: dict[Named, list[str]] = defaultdict(list)
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        if NOT_IMPORTED not in path.as_posix():
            for named, place in definitions(path):
                places[named].append(place)
    assert len(places) > 100
    assert {named: found for named, found in places.items() if len(found) > 1} == {}
