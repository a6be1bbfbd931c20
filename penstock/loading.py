"""Import of user modules by dotted name or file path."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from penstock.schemas.errors import ModuleNotLoaded, UserError

_NOT_USER_CODE = ("penstock.", "importlib.", "_frozen_importlib")


def load_modules(names: Sequence[str]) -> list[ModuleType]:
    """Import every module or file in order; their decorators register workflows and activities.

    Raises ModuleNotLoaded if there is no such module, or if its code raised (the message says where).
    """
    return [load_module(name) for name in names]


def load_module(name: str) -> ModuleType:
    """Import `orders.flow` or `path/to/file.py`; the working directory, or the file's folder, comes first on the path.

    A file is imported under its stem. Raises ModuleNotLoaded.
    """
    if name.endswith(".py") or "/" in name or "\\" in name or name.startswith("."):
        return _load_file(name)
    _prepend_to_path(Path.cwd())
    return _import(name, name)


def _load_file(name: str) -> ModuleType:
    path = Path(name).resolve()
    if not path.is_file():
        folder = "it is a folder; give a file in it, such as flows.py, or the dotted name of a package"
        raise ModuleNotLoaded(f"cannot load {name}: {folder if path.is_dir() else 'the file does not exist'}")
    if not path.stem.isidentifier():
        raise ModuleNotLoaded(
            f"cannot load {name}: {path.stem!r} is not a valid module name; use letters, digits and underscores"
        )
    _prepend_to_path(path.parent)
    taken = sys.modules.get(path.stem)
    if taken is not None and _origin(taken) == path:
        return taken
    if taken is not None or _origin_of_name(path.stem) != path:
        raise ModuleNotLoaded(f"cannot load {name}: another module is already called {path.stem!r}; rename the file")
    return _import(path.stem, name)


def _import(module: str, shown: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise ModuleNotLoaded(
                f"cannot load {shown}: there is no module {error.name!r} here or among the installed packages"
            ) from error
        raise ModuleNotLoaded(_error_message(shown, error)) from error
    except (Exception, SystemExit) as error:
        raise ModuleNotLoaded(_error_message(shown, error)) from error


def _error_message(shown: str, error: BaseException) -> str:
    where = ""
    if isinstance(error, SyntaxError):
        where = f" in {error.filename}:{error.lineno}"
        return f"cannot load {shown}: SyntaxError: {error.msg}{where}"
    frames = [
        summary
        for (frame, _), summary in zip(
            traceback.walk_tb(error.__traceback__), traceback.extract_tb(error.__traceback__), strict=True
        )
        if not str(frame.f_globals.get("__name__", "")).startswith(_NOT_USER_CODE)
    ]
    if frames:
        last = frames[-1]
        where = f" in {last.filename}:{last.lineno}" + (f" ({last.line})" if last.line else "")
    if isinstance(error, UserError):  # Penstock's own message, about the user's line
        return f"cannot load {shown}: {str(error).rstrip('.')}{where}"
    return f"cannot load {shown}: {type(error).__name__}: {error}{where}"


def _prepend_to_path(folder: Path) -> None:
    entry = str(folder)
    if entry not in sys.path:
        sys.path.insert(0, entry)
        importlib.invalidate_caches()


def _origin(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


def _origin_of_name(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).resolve() if spec is not None and spec.origin else None
