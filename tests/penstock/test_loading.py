"""Tests of importing user modules, and of the messages for those that fail."""

import sys

import pytest

from penstock.loading import load_module, load_modules
from penstock.schemas.errors import ModuleNotLoaded


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    """Remove what a test imports or puts on the path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file(tmp_path):
    """A file is imported under its stem, and can import its neighbours."""
    write(tmp_path / "neighbour_of_trial.py", "value = 7")
    module = load_module(str(write(tmp_path / "trial_flow.py", "from neighbour_of_trial import value")))
    assert (module.__name__, module.value) == ("trial_flow", 7)
    assert sys.modules["trial_flow"] is module


def test_a_file_twice(tmp_path):
    """A file that is given twice is executed once."""
    path = write(tmp_path / "trial_twice.py", "import itertools")
    first, second = load_modules([str(path), str(path)])
    assert first is second


def test_a_dotted_name(tmp_path, monkeypatch):
    """A dotted name is searched in the working directory first."""
    write(tmp_path / "trial_orders" / "__init__.py", "")
    write(tmp_path / "trial_orders" / "flow.py", "value = 8")
    monkeypatch.chdir(tmp_path)
    assert load_module("trial_orders.flow").value == 8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trial_absent.flow", "there is no module 'trial_absent'"),
        ("absent.py", "the file does not exist"),
        ("folder/", "is a folder"),
        (".", "it is a folder; give a file in it"),
        ("..", "it is a folder; give a file in it"),
        (".flow", "the file does not exist"),
        ("two-words.py", "is not a valid module name"),
    ],
)
def test_missing_modules(tmp_path, monkeypatch, name, message):
    """The message for a missing module or file has its name."""
    (tmp_path / "folder").mkdir()
    write(tmp_path / "two-words.py", "")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotLoaded) as raised:
        load_module(name)
    assert message in str(raised.value)
    assert name in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nraise ValueError('no luck')", "ValueError: no luck"),
        ("import trial_not_installed", "ModuleNotFoundError: No module named 'trial_not_installed'"),
        ("def f(:", "SyntaxError"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
    ],
)
def test_code_that_raises(tmp_path, text, message):
    """An error of the module's code is reported with file and line, not as a missing module."""
    path = write(tmp_path / "trial_broken.py", text)
    with pytest.raises(ModuleNotLoaded) as raised:
        load_module(str(path))
    assert message in str(raised.value)
    assert f"trial_broken.py:{len(text.splitlines())}" in str(raised.value)
    assert "there is no module" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@workflow\ndef f(x: int) -> int: ...", "write `async def f(…)`"),
        ("@activity(timeout='ten seconds')\ndef f(x: int) -> int: ...", "'ten seconds' cannot be parsed"),
        ("@activity(queue='a b')\ndef f(x: int) -> int: ...", "'a b' is not a valid task queue"),
    ],
)
def test_a_wrong_definition(tmp_path, text, message):
    """An error of a decorator is reported with the line of the user's file."""
    path = write(tmp_path / "trial_wrong.py", f"from penstock import activity, workflow\n{text}")
    with pytest.raises(ModuleNotLoaded) as raised:
        load_module(str(path))
    assert message in str(raised.value)
    assert "trial_wrong.py:2 (@" in str(raised.value)


def test_a_name_that_is_taken(tmp_path):
    """A file with the name of another module is refused, since an import would return the other one."""
    with pytest.raises(ModuleNotLoaded, match="rename the file"):
        load_module(str(write(tmp_path / "json.py", "")))
