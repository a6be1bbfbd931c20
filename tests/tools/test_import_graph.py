"""Tests of the import graph: what counts as an import, what a room is, and what a circle is."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import pytest

from tools.import_graph import ROOT, circle, inner_packages, module_imports, room_imports, room_of

RUN_TIMEOUT_S = 30
MODULES = {
    "house.a": "def f():\n    import house.b",
    "house.b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.rooms import c",
    "house.rooms": "",
    "house.rooms.c": "import json",
}
IN_A_FRESH_PROCESS = """
import json
from tools.import_graph import module_imports
print(json.dumps({name: sorted(found) for name, found in module_imports("house").items()}))
"""


def test_every_import_counts(tmp_path):
    """Imports inside functions and under TYPE_CHECKING are in the graph; those of other packages are not."""
    (tmp_path / "house" / "rooms").mkdir(parents=True)
    for name in ("house/__init__", "house/a", "house/b", "house/rooms/__init__", "house/rooms/c"):
        text = MODULES.get(name.replace("/", "."), "")
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "house": [],
        "house.a": ["house.b"],
        "house.b": ["house.rooms.c"],
        "house.rooms": [],
        "house.rooms.c": [],
    }


@pytest.mark.parametrize(
    ("module", "room"),
    [
        ("penstock", "penstock"),
        ("penstock.config", "penstock.config"),
        ("penstock.cli", "penstock.cli"),
        ("penstock.cli.root", "penstock.cli"),
        ("penstock.topics.log", "topics.log"),
        ("penstock.topics.kafka.log", "topics.kafka"),
        ("penstock.engine.core.machines.run", "engine.core"),
    ],
)
def test_a_module_belongs_to_one_room(module, room):
    """A room is a package two levels deep, or a module directly in a folder."""
    assert room_of(module) == room


def test_rooms_import_what_their_modules_import():
    """Imports inside a room and the empty packages of the folders are left out."""
    modules = {
        "penstock": {"penstock.cli.root"},
        "penstock.cli": set(),
        "penstock.cli.root": {"penstock.cli", "penstock.engine.core.machines.run"},
        "penstock.engine": set(),
        "penstock.engine.core.machines": set(),
        "penstock.engine.core.machines.run": {"penstock.engine.core.rows"},
        "penstock.engine.core.rows": set(),
    }
    assert room_imports(modules) == {
        "engine.core": set(),
        "penstock": {"penstock.cli"},
        "penstock.cli": {"engine.core"},
    }
    assert inner_packages(modules) == {"engine.core": ["machines"]}


def test_a_circle_is_found_by_its_names():
    """The circle is given in the order of the imports, and closes."""
    found = circle({"a": {"b", "d"}, "b": {"c"}, "c": {"a"}, "d": set()})
    assert found[0] == found[-1]
    assert sorted(itertools.pairwise(found)) == [("a", "b"), ("b", "c"), ("c", "a")]


def test_a_circle_through_a_package_is_found():
    """A module that imports the package around it, which imports the module, is a circle of two."""
    assert circle({"p": {"p.a"}, "p.a": {"p"}}) in (["p", "p.a", "p"], ["p.a", "p", "p.a"])


def test_no_circle_is_an_empty_list():
    """Two ways to the same module are no circle."""
    assert circle({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []


def test_the_graph_of_the_package_has_its_modules():
    """Modules behind the links inside penstock/ are found, with their imports."""
    imports = module_imports()
    assert "penstock.topics.log" in imports["penstock.topics.connect"]
