"""Import graph of the package: which module imports which, which room imports which, and whether there is a circle.

A room is a package two levels deep (`engine.core`, `penstock.cli`) or a module directly in one of the five folders
(`topics.log`, `penstock.config`). What lies deeper (`engine.core.machines`) belongs to the room around it.
"""

from __future__ import annotations

import graphlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("penstock", "engine", "workers", "topics", "schemas")
FACE = "penstock"

Imports = Mapping[str, AbstractSet[str]]
"""Importer to imported; every name is a key."""


def module_imports(package: str = "penstock") -> Imports:
    """The direct imports between the modules, those inside functions and under `if TYPE_CHECKING` included."""
    graph = grimp.build_graph(package, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in sorted(graph.modules)}


def room_imports(modules: Imports) -> Imports:
    """The imports between different rooms; the empty packages of the folders are left out."""
    rooms: dict[str, set[str]] = {}
    for module, imported in modules.items():
        rooms.setdefault(room_of(module), set()).update(map(room_of, imported))
    return {room: rooms[room] - {room} for room in sorted(rooms) if room not in FOLDERS or room == FACE}


def room_of(module: str) -> str:
    """The room of a module, such as `engine.core` for `penstock.engine.core.machines.run`."""
    parts = module.split(".")
    return ".".join(parts[1:3] if len(parts) > 1 and parts[1] in FOLDERS else parts[:2])


def folder_of(room: str) -> str:
    """The folder that holds a room."""
    return room.partition(".")[0]


def inner_packages(modules: Imports) -> Mapping[str, Sequence[str]]:
    """Short names of the packages inside each room: `engine.core` has `machines`."""
    inner: dict[str, list[str]] = {}
    for package in sorted({name.rpartition(".")[0] for name in modules}):
        room = room_of(package)
        if room not in FOLDERS and package not in {room, f"{FACE}.{room}", ""}:
            inner.setdefault(room, []).append(package.rpartition(".")[2])
    return inner


def circle(imports: Imports) -> list[str]:
    """Names of which each imports the next one, the last being the first again; empty if there is no circle."""
    try:
        graphlib.TopologicalSorter({name: sorted(imports[name]) for name in sorted(imports)}).prepare()
    except graphlib.CycleError as error:
        found: list[str] = error.args[1]
        return found[::-1]  # graphlib goes from the imported to the importer
    return []
