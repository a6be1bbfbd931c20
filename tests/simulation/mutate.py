"""Small mutations of the engine's source, which are applied when a module is imported; the files stay as they are."""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from importlib.util import spec_from_file_location
from pathlib import Path
from random import Random
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("engine/core", "engine/runtime", "engine/store", "engine/execution")
PACKAGE = "penstock"

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add}
_SILENT = frozenset({"logger", "_log_ending", "warn_of_wrong_clock"})
"""Beginnings of calls that only write to the process's log."""


class Mutant(NamedTuple):
    """One change of one module: the index of its place among the places of the module."""

    path: str
    index: int

    @property
    def module(self) -> str:
        return f"{PACKAGE}.{self.path.removesuffix('.py').replace('/', '.')}"

    def __str__(self) -> str:
        return f"{self.path}:{self.index}"

    @classmethod
    def parse(cls, text: str) -> Mutant:
        """Inverse of str()."""
        path, index = text.rsplit(":", 1)
        return cls(path, int(index))


class Change(NamedTuple):
    """What a mutant changes: the line, the kind of change, and the code before and after it."""

    line: int
    kind: str
    before: str
    after: str


def choose(seed: int, count: int) -> list[Mutant]:
    """`count` mutants of all those that there are."""
    return Random(seed).sample(all_mutants(), count)


def all_mutants() -> list[Mutant]:
    """Every place of every module."""
    return [
        Mutant(str(path.relative_to(ROOT)), index)
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for index in range(_count(path.read_text("utf-8")))
    ]


def changed(mutant: Mutant) -> Change:
    """What the mutant changes."""
    return _mutated((ROOT / mutant.path).read_text("utf-8"), mutant.index)[1]


def install(mutant: Mutant) -> None:
    """Let the module be imported with the change. It must not have been imported yet."""
    assert mutant.module not in sys.modules, f"{mutant.module} was imported already"
    sys.meta_path.insert(0, _Finder(mutant))


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        file = str(ROOT / self._mutant.path)
        return spec_from_file_location(fullname, file, loader=_Loader(fullname, file, self._mutant.index))


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, index: int) -> None:
        super().__init__(fullname, path)
        self._index = index

    def get_code(self, fullname: str):  # type: ignore[no-untyped-def]
        """Compile the changed source; no cached bytecode is read or written."""
        tree, _ = _mutated(Path(self.path).read_text("utf-8"), self._index)
        return compile(tree, self.path, "exec", dont_inherit=True)


# Places, and what becomes of them.


def _count(source: str) -> int:
    return sum(1 for _ in _places(ast.parse(source)))


def _mutated(source: str, index: int) -> tuple[ast.Module, Change]:
    tree = ast.parse(source)
    for number, (parent, field, position, node, kind) in enumerate(_places(tree)):
        if number == index:
            before, line = ast.unparse(node), node.lineno  # type: ignore[attr-defined]
            replacement = _replacement(node, kind)
            if position is None:
                setattr(parent, field, replacement)
            else:
                getattr(parent, field)[position] = replacement
            ast.fix_missing_locations(tree)
            return tree, Change(line, kind, _short(before), _short(ast.unparse(replacement)))
    raise IndexError(f"there is no place {index}")


def _short(code: str) -> str:
    line = " ".join(code.split())
    return line if len(line) <= 90 else f"{line[:87]}…"


Place = tuple[ast.AST, str, int | None, ast.AST, str]


def _places(tree: ast.AST) -> Iterator[Place]:
    """Every place that can be changed, with the kind of change; annotations, messages and documentation are none."""
    for parent in _code(tree):
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns", "decorator_list"):
                continue
            items = enumerate(value) if isinstance(value, list) else [(None, value)]
            for position, node in items:
                if isinstance(node, ast.AST) and not _is_silent(node):
                    yield from ((parent, field, position, node, kind) for kind in _kinds(parent, field, node))


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes of code that runs in a function, in their order."""
    pending: list[tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        node, inside = pending.pop()
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if inside or is_function:
            yield node
        children = [
            child
            for field, value in ast.iter_fields(node)
            if field not in ("annotation", "returns", "decorator_list")
            for child in (value if isinstance(value, list) else [value])
            if isinstance(child, ast.AST) and not _is_silent(child)
        ]
        pending.extend((child, inside or is_function) for child in reversed(children))


def _is_silent(node: ast.AST) -> bool:
    """Whether code only speaks: documentation, log messages, assertions, errors that are raised, formatted text."""
    match node:
        case ast.JoinedStr() | ast.Assert() | ast.Raise() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id=name))):
            return name in _SILENT
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            return name in _SILENT
    return False


def _kinds(parent: ast.AST, field: str, node: ast.AST) -> Iterator[str]:
    match node:
        case _ if field == "test" and isinstance(node, ast.expr):
            yield "negate"
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield "drop"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "drop"
        case ast.Return(value=value) if isinstance(parent, ast.If) and value is not None:
            yield "drop"
        case ast.Continue() | ast.Break() | ast.Delete():
            yield "drop"
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARISONS:
            yield "compare"
        case ast.BoolOp():
            yield "and/or"
        case ast.BinOp() if type(node.op) in _OPERATORS and not _is_text(node):
            yield "arithmetic"
        case ast.Constant(value=bool()):
            yield "constant"
        case ast.Constant(value=int()):
            yield "off by one"


def _is_text(node: ast.BinOp) -> bool:
    return any(isinstance(side, ast.Constant | ast.JoinedStr) and not isinstance(getattr(side, "value", 0), int)
               for side in (node.left, node.right))  # fmt: skip


def _replacement(node: ast.AST, kind: str) -> ast.AST:
    match kind, node:
        case "negate", ast.UnaryOp(op=ast.Not(), operand=operand):
            return operand
        case "negate", ast.expr():
            return ast.UnaryOp(ast.Not(), node)
        case "drop", _:
            return ast.Pass()
        case "compare", ast.Compare(left=left, ops=[op], comparators=comparators):
            return ast.Compare(left, [_COMPARISONS[type(op)]()], comparators)
        case "and/or", ast.BoolOp(op=op, values=values):
            return ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case "arithmetic", ast.BinOp(left=left, op=operator, right=right):
            return ast.BinOp(left, _OPERATORS[type(operator)](), right)
        case "constant", ast.Constant(value=value):
            return ast.Constant(not value)
        case "off by one", ast.Constant(value=int(value)):
            return ast.Constant(value + 1)
    raise AssertionError(f"no change of kind {kind} for {ast.dump(node)}")
