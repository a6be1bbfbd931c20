"""Registry of declared activities by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from penstock.schemas.errors import BadName
from penstock.schemas.values.functions import code_of


class Declared(Protocol):
    """An activity as the registry sees it. `place`: module, qualified name, file and line, for error messages."""

    @property
    def name(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def fn(self) -> Callable[..., Any]: ...


D = TypeVar("D", bound=Declared)


class Registry(Generic[D]):
    """Declared activities. Two functions may share a name until it is looked up, so that importing never fails."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[str, D]] = {}

    def add(self, definition: D) -> None:
        """Add a definition, replacing one of the same function (its module was loaded again)."""
        self._by_name.setdefault(definition.name, {})[_identity(definition.fn)] = definition

    def find(self, name: str) -> D | None:
        """Return the activity named `name`, None if there is none. Raises BadName if two functions have that name."""
        declared = self._by_name.get(name)
        return _only(name, declared) if declared else None

    def all(self) -> dict[str, D]:
        """Return every activity by name. Raises BadName if two functions have the same name."""
        return {name: _only(name, declared) for name, declared in self._by_name.items()}

    def clear(self) -> None:
        """Remove every activity."""
        self._by_name.clear()


def _identity(fn: Callable[..., Any]) -> str:
    """Return file and qualified name; a module's name would differ when it runs as `__main__`."""
    return f"{code_of(fn).co_filename}:{fn.__qualname__}"


def _only(name: str, declared: dict[str, D]) -> D:
    if len(declared) > 1:
        places = " and ".join(sorted(definition.place for definition in declared.values()))
        raise BadName(f"Two activities are named {name!r}: {places}; rename one of them with @activity(name=…).")
    (definition,) = declared.values()
    return definition
