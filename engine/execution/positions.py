"""Where the coroutines of a run stand: the lines of its own code, outermost first, for each of its tasks."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.engine.execution.program import Program
from penstock.schemas.values.frames import is_own
from penstock.schemas.values.lazy import Lazy


class Line(msgspec.Struct, frozen=True):
    """A line of code. `text`: as it is written, empty if the file cannot be read."""

    file: str
    number: int
    function: str
    text: str


class Position(msgspec.Struct, frozen=True):
    """Where one task stands. `task`: its name; the first one of a run is that of the workflow."""

    task: str
    lines: tuple[Line, ...]


def positions(program: Program) -> list[Position]:
    """The tasks of a run that wait, in the order of their creation."""
    found = [Position(task.get_name(), tuple(_lines(task.get_coro()))) for task in program.loop.tasks.values()]
    return [position for position in found if position.lines]


def _lines(coroutine: Any) -> Iterator[Line]:
    """The lines that a coroutine, and what it awaits, stand at; those of the user's own code, if there are any."""
    all_lines = list(_all_lines(coroutine))
    own = [line for line in all_lines if is_own(line.file)]
    yield from own or all_lines[-1:]


def _all_lines(awaited: Any) -> Iterator[Line]:
    while awaited is not None:
        if isinstance(awaited, Lazy):  # a call, or a wait, that a task awaits by itself
            file, _, number = awaited.made_at.rpartition(":")
            yield _line(file, int(number), awaited.name)
        frame = _first(awaited, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            yield _line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)
        awaited = _first(awaited, "cr_await", "gi_yieldfrom", "ag_await")


def _first(awaited: Any, *names: str) -> Any:
    return next((value for name in names if (value := getattr(awaited, name, None)) is not None), None)


def _line(file: str, number: int, function: str) -> Line:
    return Line(file, number, function, linecache.getline(file, number).strip())
