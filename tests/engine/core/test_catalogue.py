"""Tests of the catalogue of machines: every record has its rule, and one alone."""

from __future__ import annotations

from penstock.engine.core.catalogue import EVENTS, INPUTS, MACHINES
from penstock.schemas.encoding import record_types


def test_every_command_has_a_rule() -> None:
    """No command of the records is without an InputRule: a shard would refuse it as misplaced."""
    without = set(record_types.COMMANDS) - {kind.__name__ for kind in INPUTS}
    assert not without, f"add an InputRule to a machine in engine/core/machines: {without}"


def test_every_event_has_a_rule() -> None:
    """No event of the records is without an EventRule: `evolve` would not know it."""
    without = set(record_types.EVENTS) - {kind.__name__ for kind in EVENTS}
    assert not without, f"add an EventRule to a machine in engine/core/machines: {without}"


def test_no_rule_hides_another() -> None:
    """No input and no event is in two machines, one of which would be ignored."""
    assert sum(len(machine.inputs) for machine in MACHINES) == len(INPUTS)
    assert sum(len(machine.events) for machine in MACHINES) == len(EVENTS)
