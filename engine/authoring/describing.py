"""What workflow code says of its run to those who look at it."""

from __future__ import annotations

from typing import Any

from penstock.engine.authoring.context import current
from penstock.schemas.records.note import DetailsSet, SearchSet
from penstock.schemas.values.attributes import SearchValue, encode_details, search_after, search_changes


def details(value: Any) -> None:
    """Set the run's custom status, any value with a JSON form of at most 4 kB, such as `{"step": 3, "of": 7}`.

    `describe`, `show` and `list` show it once the decision is committed; None removes it. It is recorded when it
    changes, and a run that continues as new begins without it.

    Raises BadInput, PayloadTooLarge; NotInWorkflow outside of a workflow."""
    program = current("details()")
    data = encode_details(value)
    if data != program.notes.details and not program.closing:
        program.notes.details = data
        program.request(DetailsSet(value=data))


def set_search(**attributes: SearchValue | None) -> None:
    """Set search attributes of the run: `set_search(customer=user.id, tier="gold")`; None removes one.

    A value is a str, int, float, bool, aware datetime or list[str]; an attribute keeps the type that it began with. A
    run has at most 32 of them, of 4 kB in all. What changes is recorded, and goes along to the runs that follow.

    Raises BadName, BadInput (a value of no such type, or of another type than the attribute has), PayloadTooLarge;
    NotInWorkflow outside of a workflow."""
    program = current("set_search()")
    changes = search_changes(program.notes.search, attributes)
    if changes and not program.closing:
        program.notes.search = search_after(program.notes.search, changes)
        program.request(SearchSet(attributes=changes))
