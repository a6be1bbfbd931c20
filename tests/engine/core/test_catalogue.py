"""Tests of the catalogue: every command, input and event belongs to exactly one machine."""

from __future__ import annotations

from collections import Counter

import pytest

from penstock.engine.core.catalogue import DELIVERED, EVENTS, INPUTS, MACHINES, REQUESTS, ROW_READS
from penstock.engine.core.decision import (
    BeginRun,
    FireSchedule,
    FireTimer,
    GiveUpCommand,
    KeepCommand,
    ResumeActivation,
    RetryActivity,
    TimeOutActivity,
    TimeOutRun,
)
from penstock.engine.core.machine import no_rows
from penstock.schemas.encoding import record_types
from penstock.schemas.records.tasks import TaskCompleted, TaskFailed, TaskHeartbeat, TaskStarted


def test_every_command_belongs_to_one_machine() -> None:
    """Each command that is no read of rows, each result and each due timer is decided by exactly one machine."""
    owners = Counter(kind for machine in MACHINES for kind in machine.inputs)
    due = {
        FireTimer,
        ResumeActivation,
        RetryActivity,
        TimeOutActivity,
        BeginRun,
        TimeOutRun,
        GiveUpCommand,
        FireSchedule,
    }
    results = {TaskCompleted, TaskFailed, TaskStarted, TaskHeartbeat}
    inputs = {*record_types.COMMANDS.values(), *results, KeepCommand, *due} - ROW_READS
    assert set(owners) == inputs
    assert set(owners.values()) == {1}
    assert set(INPUTS) == inputs


def test_every_event_belongs_to_one_machine() -> None:
    """Each event record is evolved by exactly one machine."""
    owners = Counter(kind for machine in MACHINES for kind in machine.events)
    missing = sorted(kind.__name__ for kind in set(record_types.EVENTS.values()) - set(owners))
    assert not missing, f"add an EventRule for {missing} to a MACHINE in engine/core/machines"
    assert set(owners.values()) == {1}
    assert set(EVENTS) == set(owners)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_a_table_names_the_machine_s_own_events(machine) -> None:
    """A table has no event of another machine; of its own it leaves out those that are possible in every state."""
    in_table = {event for _, event in machine.transitions}
    assert in_table <= set(machine.events)
    stateless = {kind.__name__ for kind in set(machine.events) - in_table}
    assert stateless <= {"CancelRequested", "ResultAwaited", "StartJoined", "InputIgnored", "ParentChanged"}


def test_requests_are_not_delivered() -> None:
    """What workflow code asked for is compared on replay and never handed back to it."""
    assert not REQUESTS & DELIVERED


def test_a_request_with_an_input_has_a_subject() -> None:
    """An input is compared between requests of one kind and subject, so a request that has one names its subject."""
    for kind in REQUESTS:
        rule = EVENTS[kind]
        assert rule.payload is None or rule.subject is not None or rule.is_note or kind.__name__ == "TimerStarted"


def test_an_event_without_rows_is_unnumbered() -> None:
    """Only InputIgnored changes no row and has no state."""
    assert {kind.__name__ for kind, rule in EVENTS.items() if rule.evolve is no_rows} == {"InputIgnored"}
