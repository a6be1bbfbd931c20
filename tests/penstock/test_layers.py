"""Tests of the imports inside penstock/: they point from upper to lower layers, and no modules import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "penstock"
# Each may import itself and the ones after it; those of the last line may import only themselves.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("testing",),
    ("hosting",),
    ("api",),
    ("client",),
    ("patterns", "observe", "config", "loading"),
)
LEVEL_OF = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules() -> dict[str, Path]:
    """Return the files of each layer by module name, without the linked folders and the package itself."""
    names = {}
    for path in sorted(FOLDER.rglob("*.py")):
        relative = path.relative_to(FOLDER).with_suffix("")
        if relative.parts[0] in LEVEL_OF:
            names[".".join(("penstock", *relative.parts)).removesuffix(".__init__")] = path
    return names


def imported(path: Path) -> Iterator[str]:
    """Yield every imported name in full, also those of functions and of `if TYPE_CHECKING`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(name: str) -> str:
    """Return the part after `penstock.` that names the layer; empty for other packages."""
    parts = name.split(".")
    return parts[1] if parts[0] == "penstock" and len(parts) > 1 and parts[1] in LEVEL_OF else ""


@pytest.mark.parametrize("name", modules())
def test_imports_point_down(name):
    """A module imports its own layer and lower ones only, and nothing from the package `penstock` itself."""
    own = layer_of(name)
    links = {path.name for path in FOLDER.iterdir() if path.is_symlink()}
    for other in imported(modules()[name]):
        if other.split(".")[0] != "penstock" or other.split(".")[1] in links:
            continue
        layer = layer_of(other)
        assert layer and (layer == own or LEVEL_OF[layer] > LEVEL_OF[own]), f"{name} imports {other}"


def test_every_file_has_a_layer():
    """Every module and folder of penstock/ that is no link belongs to a layer."""
    found = {path.stem for path in FOLDER.iterdir() if path.suffix == ".py"}
    found |= {path.name for path in FOLDER.iterdir() if path.is_dir() and not path.is_symlink()}
    assert found - {"__init__", "__pycache__"} == set(LEVEL_OF)


def test_no_cycles():
    """No module imports another one that imports it, directly or through others."""
    names = modules()
    graph = {}
    for name, path in names.items():
        targets = {other if other in names else other.rpartition(".")[0] for other in imported(path)}
        graph[name] = targets & set(names) - {name}
    TopologicalSorter(graph).prepare()
