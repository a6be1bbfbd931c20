"""Form of a mutation: what is replaced, and in which weather that must be noticed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple
from unittest.mock import patch

from tests.simulation.weather import Weather


def any_weather(weather: Weather) -> None:
    """The seed's own weather."""


class Mutation(NamedTuple):
    """Replacement of an attribute, the weather in which it must be noticed, and further replacements.

    `table`: entries under which the core looks the function up; they are replaced as well."""

    target: Any
    attribute: str
    replacement: Any
    weather: Callable[[Weather], None] = any_weather
    also: tuple[tuple[Any, str, Any], ...] = ()
    table: tuple[dict[Any, Any], tuple[Any, ...]] = ({}, ())

    def enter(self, patches: ExitStack) -> None:
        """Replace everything until the end of the block of `patches`."""
        for target, attribute, replacement in (self[:3], *self.also):
            patches.enter_context(patch.object(target, attribute, replacement))
        table, keys = self.table
        patches.enter_context(patch.dict(table, dict.fromkeys(keys, self.replacement)))
