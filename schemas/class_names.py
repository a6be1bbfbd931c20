"""Names of classes in failures, alike in every process, whether a file is loaded as a module, script or by its path."""

from __future__ import annotations

import functools
import sys
from pathlib import Path


def class_name(kind: type) -> str:
    """The class's qualified name: built-in classes without a module, others with the module's name as a package's
    importer would write it, even if its file was loaded otherwise."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{_place(module, _file(module)).name}.{kind.__qualname__}"


def is_named(kind: type, name: str) -> bool:
    """Whether `name`, from this process or another, names this class: its file must lie at that place in a tree."""
    if name == class_name(kind):
        return True
    module, dot, rest = name.rpartition(f".{kind.__qualname__}")
    if not dot or rest or kind.__module__ == "builtins":
        return False
    parts, place = tuple(module.split(".")), _place(kind.__module__, _file(kind.__module__))
    return len(parts) >= place.parts_min and place.parts[-len(parts) :] == parts


class _Place:
    """Where a module lies. `parts`: of its path; `parts_min`: how many of them name it within its outermost package."""

    def __init__(self, name: str, parts: tuple[str, ...] = (), parts_min: int = 1) -> None:
        self.name, self.parts, self.parts_min = name, parts, parts_min


def _file(module: str) -> str:
    file = getattr(sys.modules.get(module), "__file__", None)
    return file if isinstance(file, str) and file.endswith(".py") else ""


@functools.lru_cache(maxsize=4096)
def _place(module: str, file: str) -> _Place:
    if not file:
        return _Place(module)
    path = Path(file).absolute()
    parts = path.parts[1:-1] if path.stem == "__init__" else (*path.parts[1:-1], path.stem)
    count = 1
    while count < len(parts) and (Path(path.anchor, *parts[:-count]) / "__init__.py").is_file():
        count += 1
    name = ".".join(parts[-count:])
    if module == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        return _Place(spec.name if spec is not None else name, parts, count)
    return _Place(name if name.endswith(f".{module}") else module, parts, count)
