"""Delivery of events to an execution."""

from __future__ import annotations

from penstock.engine.core.catalogue import EVENTS
from penstock.engine.core.execution import Receiver
from penstock.schemas.records.kinds import Event

DELIVERIES = {kind: rule.deliver for kind, rule in EVENTS.items() if rule.deliver is not None}


def deliver(code: Receiver, event: Event) -> None:
    """Hand `event` to the execution; nothing for an event that it does not notice."""
    delivery = DELIVERIES.get(type(event))
    if delivery is not None:
        delivery(code, event)
