"""Tests of the packaging: the wheel and the source archive are built, and hold what is in the tree.

Builds run without isolation, on the setuptools of the development environment: no network, no surprises.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("penstock", "engine", "schemas", "topics", "workers")
BUILD_TIMEOUT_S = 120
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
NOT_SHIPPED = {"__pycache__"}


def installed_name(path: Path) -> str:
    """Where a file of the tree lies once installed: engine/core/x.py → penstock/engine/core/x.py."""
    return str(path) if path.parts[0] == "penstock" else str(Path("penstock", path))


def tree_files() -> set[str]:
    """Every file that should be installed, under its installed name. Links are other names for the same files."""
    found = set()
    for folder in FOLDERS:
        for directory, inner, names in os.walk(ROOT / folder):
            inner[:] = [name for name in inner if name not in NOT_SHIPPED and not Path(directory, name).is_symlink()]
            found |= {installed_name(Path(directory, name).relative_to(ROOT)) for name in names}
    return {name for name in found if name.endswith((".py", ".avsc", "py.typed"))}


def tree_packages() -> set[str]:
    return {str(Path(name).parent).replace("/", ".") for name in tree_files() if name.endswith("/__init__.py")}


def wheel_files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}


def run(*command: str, cwd: Path) -> str:
    """The program's output; fails the test with it when the program fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(hook: str, source: Path, target: Path) -> Path:
    """Call setuptools' own build hook (PEP 517), as every installer does."""
    target.mkdir(exist_ok=True)
    order = f"import setuptools.build_meta as b; print(b.{hook}({str(target)!r}))"
    name = run(sys.executable, "-c", order, cwd=source).splitlines()[-1]
    return target / name


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The tree as a clone would have it: builds must leave nothing behind in the real one."""
    target = tmp_path_factory.mktemp("source")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, target / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, target / name)
    return target


@pytest.fixture(scope="module")
def wheel(copy, tmp_path_factory) -> Path:
    return build("build_wheel", copy, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A directory that holds the wheel's files and nothing else of ours."""
    target = tmp_path_factory.mktemp("installed")
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--no-index", "--no-compile", "--target", str(target), str(wheel)),
        cwd=target,
    )
    return target


def in_installed(installed: Path, *arguments: str) -> str:
    """Run Python on the installed files: they come before the editable tree, and the working folder is elsewhere."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=installed.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_package_list_equals_the_tree():
    """pyproject.toml names every folder with an __init__.py, under the name it is imported by, and no other."""
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == tree_packages()


def test_every_folder_with_python_is_a_package():
    """No Python file lies in a folder that would be left out of the wheel for want of an __init__.py."""
    folders = {str(Path(name).parent).replace("/", ".") for name in tree_files() if name.endswith(".py")}
    assert folders == tree_packages()


def test_the_wheel_holds_the_tree(wheel):
    """The wheel has every module, schema and py.typed of the tree, and nothing else."""
    assert wheel_files(wheel) == tree_files()


def test_the_source_archive_builds_the_same_wheel(copy, wheel, tmp_path):
    """A wheel built from the source archive holds the same files, byte for byte."""
    archive = build("build_sdist", copy, tmp_path / "sdist")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    again = build("build_wheel", source, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert wheel_files(again) == wheel_files(wheel)
        assert {name: one.read(name) for name in wheel_files(wheel)} == {
            name: other.read(name) for name in wheel_files(again)
        }


def test_the_wheel_claims_no_name_but_ours(wheel):
    """Installed, everything lies under `penstock`: a top-level `engine` would overwrite another package's."""
    assert {name.split("/")[0] for name in wheel_files(wheel)} == {"penstock"}


def test_the_licence_is_shipped(wheel):
    """The wheel carries the text of the licence that it names."""
    with zipfile.ZipFile(wheel) as archive:
        (licence,) = [name for name in archive.namelist() if name.endswith("/LICENSE")]
        assert b"Apache License" in archive.read(licence)


def test_the_installed_package_reads_its_schemas(installed):
    """The codec of the installed package finds its schemas beside it, not in the working tree."""
    code = (
        "import penstock.schemas.encoding.codec as codec, penstock.schemas.records.run as commands; "
        "order = commands.TerminateWorkflow(workflow_id='order-1', reason='x'); "
        "assert codec.decode(codec.encode(order)) == order; print(codec.__file__)"
    )
    assert Path(in_installed(installed, "-c", code).strip()).is_relative_to(installed)


def test_the_installed_command_line_answers(installed):
    """`python -m penstock --help` of the installed package lists its commands."""
    assert "worker" in in_installed(installed, "-m", "penstock", "--help")


def test_the_lock_file_names_every_dependency():
    """Each dependency of pyproject.toml is pinned in requirements.lock, and the lock names no address or option."""
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in line and not line.startswith("-") and "://" not in line for line in pins)
    pinned = {line.split("==")[0] for line in pins}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["dev"], *extras["examples"]]
    assert {line.split(">=")[0].split("[")[0] for line in wanted} <= pinned


def test_dependencies_have_lower_bounds_only():
    """An application that depends on Penstock decides itself how new its libraries are."""
    for line in PROJECT["project"]["dependencies"]:
        assert ">=" in line, line
        assert "<" not in line, line
