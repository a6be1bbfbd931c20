"""Every record type by its name, collected from schemas/records."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType

import msgspec

from penstock.schemas import failure, records
from penstock.schemas.records.kinds import Command, Event
from penstock.schemas.values import bounds, retry, schedule_spec


def _records(*modules: ModuleType) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    for module in modules:
        for name, value in vars(module).items():
            if (
                isinstance(value, type)
                and issubclass(value, msgspec.Struct)
                and value not in {Command, Event}
                and value.__module__ == module.__name__
            ):
                yield name, value


_MODULES = [import_module(f"{records.__name__}.{found.name}") for found in pkgutil.iter_modules(records.__path__)]

RECORDS: Mapping[str, type[msgspec.Struct]] = dict(_records(*_MODULES, bounds, failure, retry, schedule_spec))

COMMANDS: Mapping[str, type[Command]] = {name: kind for name, kind in RECORDS.items() if issubclass(kind, Command)}

EVENTS: Mapping[str, type[Event]] = {name: kind for name, kind in RECORDS.items() if issubclass(kind, Event)}
