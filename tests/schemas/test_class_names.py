"""Tests of the names of classes in failures."""

from __future__ import annotations

import builtins
import importlib.util
import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.schemas.class_names import class_name, is_named

Load = Callable[[str, str], type]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """The class `CardDeclined` of a file of this tree, loaded under a module's name."""
    for file in ("shop/__init__.py", "shop/flows.py", "plain/flows.py", "plain/errors.py", "errors.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("class CardDeclined(Exception): ...\n", "utf-8")

    def load(file: str, module: str) -> type:
        spec = importlib.util.spec_from_file_location(module, tmp_path / file)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, module, loaded)
        spec.loader.exec_module(loaded)
        kind: type = loaded.CardDeclined
        return kind

    return load


@pytest.mark.parametrize(
    ("file", "module", "name"),
    [
        ("shop/flows.py", "shop.flows", "shop.flows.CardDeclined"),
        ("shop/flows.py", "flows", "shop.flows.CardDeclined"),
        ("shop/flows.py", "app.shop.flows", "app.shop.flows.CardDeclined"),
        ("shop/__init__.py", "shop", "shop.CardDeclined"),
        ("plain/flows.py", "flows", "flows.CardDeclined"),
        ("plain/flows.py", "plain.flows", "plain.flows.CardDeclined"),
    ],
)
def test_the_name_of_a_class(file: str, module: str, name: str, load: Load) -> None:
    """A module in a package has the package's name, however its file was loaded; otherwise it has its own."""
    assert class_name(load(file, module)) == name


@pytest.mark.parametrize(
    ("file", "module", "elsewhere"),
    [
        ("shop/flows.py", "shop.flows", "flows"),
        ("shop/flows.py", "flows", "shop.flows"),
        ("plain/flows.py", "plain.flows", "flows"),
        ("plain/flows.py", "flows", "plain.flows"),
    ],
)
def test_one_file_under_two_names(file: str, module: str, elsewhere: str, load: Load) -> None:
    """A class is recognised by the name that a process recorded which loaded its file otherwise."""
    recorded = class_name(load(file, elsewhere))
    assert is_named(load(file, module), recorded)


@pytest.mark.parametrize(
    ("file", "module", "recorded"),
    [
        ("shop/flows.py", "shop.flows", "flows.CardDeclined"),
        ("shop/flows.py", "shop.flows", "other.flows.CardDeclined"),
        ("shop/flows.py", "shop.flows", "CardDeclined"),
        ("shop/flows.py", "shop.flows", "shop.flows.Outer.CardDeclined"),
        ("plain/errors.py", "plain.errors", "errors.Declined"),
        ("errors.py", "errors", "redis.errors.CardDeclined"),
    ],
)
def test_another_class_of_the_same_name(file: str, module: str, recorded: str, load: Load) -> None:
    """A class of the same name in another module, or with fewer parts than its package has, is another class."""
    assert not is_named(load(file, module), recorded)


def test_a_built_in_class_has_no_module() -> None:
    """Built-in classes, and classes of modules without a file, are compared by their names alone."""
    made = types.new_class("ConnectionError", (Exception,), exec_body=lambda body: body.update(__module__="nowhere"))
    assert class_name(builtins.ConnectionError) == "ConnectionError"
    assert class_name(made) == "nowhere.ConnectionError"
    assert not is_named(builtins.ConnectionError, "nowhere.ConnectionError")
    assert not is_named(made, "ConnectionError")


@pytest.mark.parametrize("how", ["script", "module"])
def test_a_class_of_the_main_script(how: str, tmp_path: Path) -> None:
    """A class of a program that runs as `__main__` has the name under which another process imports it."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "flows.py").write_text(
        "import json\nfrom penstock.schemas.class_names import class_name\nclass CardDeclined(Exception): ...\n"
        "print(json.dumps(class_name(CardDeclined)))\n",
        "utf-8",
    )
    arguments = ["shop/flows.py"] if how == "script" else ["-m", "shop.flows"]
    done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout) == "shop.flows.CardDeclined"
