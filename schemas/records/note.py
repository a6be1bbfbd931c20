"""Events in which workflow code describes its run to those who look at it."""

from __future__ import annotations

from penstock.schemas.records.kinds import Event


class DetailsSet(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code set its custom status to `value` (JSON; empty: none). A request."""

    value: bytes


class SearchSet(Event, frozen=True, gc=False, kw_only=True):
    """Workflow code changed search attributes of its run. A request.

    `attributes`: a JSON object, as in StartWorkflow; null removes one."""

    attributes: bytes
