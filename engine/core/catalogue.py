"""All machines, and their combined rules by input and by event."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.engine.core.machine import EventRule, InputRule, Machine
from penstock.engine.core.machines import (
    activity,
    chain,
    child,
    delay,
    deletion,
    external,
    importing,
    kept,
    marker,
    note,
    options,
    pause,
    query,
    reset,
    run,
    schedule,
    share,
    signal,
    suspension,
    timer,
    update,
)
from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.reading import DescribeWorkflow, ListWorkflows, ReadHistory
from penstock.schemas.records.schedule import DescribeSchedule, ListSchedules
from penstock.schemas.records.share import ListVersionShares

MACHINES: tuple[Machine, ...] = (
    run.MACHINE,
    activity.MACHINE,
    timer.MACHINE,
    child.MACHINE,
    signal.MACHINE,
    query.MACHINE,
    update.MACHINE,
    marker.MACHINE,
    note.MACHINE,
    external.MACHINE,
    suspension.MACHINE,
    delay.MACHINE,
    chain.MACHINE,
    kept.MACHINE,
    schedule.MACHINE,
    share.MACHINE,
    pause.MACHINE,
    options.MACHINE,
    reset.MACHINE,
    deletion.MACHINE,
    importing.MACHINE,
)

INPUTS: Mapping[type, InputRule] = {kind: rule for machine in MACHINES for kind, rule in machine.inputs.items()}
"""How each input is decided."""

ROW_READS = frozenset(
    {DescribeWorkflow, ReadHistory, ListWorkflows, DescribeSchedule, ListSchedules, ListVersionShares}
)
"""Commands that read rows and need no decision: the shard answers them (runtime/row_reads.py)."""

READS = frozenset({QueryWorkflow, *ROW_READS})
"""Commands that change nothing and are dropped when their caller has given up."""

EVENTS: Mapping[type, EventRule] = {kind: rule for machine in MACHINES for kind, rule in machine.events.items()}
"""What each event does."""

REQUESTS = frozenset(kind for kind, rule in EVENTS.items() if rule.is_request)
"""Events that workflow code asks for."""

NOTES = frozenset(kind for kind, rule in EVENTS.items() if rule.is_note)
"""Requests that only describe the run."""

DELIVERIES = {kind: rule.deliver for kind, rule in EVENTS.items() if rule.deliver is not None}
"""How an event reaches the execution, for those that do."""

DELIVERED = frozenset(DELIVERIES)
"""Events that reach workflow code."""
