"""What a run's code last said of it, so that an unchanged value makes no event."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.schemas.records.note import DetailsSet, SearchSet
from penstock.schemas.values.attributes import search_after


class Notes:
    """Details and search attributes of a run, in JSON."""

    __slots__ = ("details", "search")

    def __init__(self) -> None:
        self.details = self.search = b""

    def follow(self, events: Iterable[Any]) -> None:
        """Take over what a decision of the past recorded, which other code may say otherwise."""
        for event in events:
            if type(event) is DetailsSet:
                self.details = event.value
            elif type(event) is SearchSet:
                self.search = search_after(self.search, event.attributes)
