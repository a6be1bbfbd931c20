"""Repetition of every committed batch from the log alone: a second decision must give the same bytes.

The inputs come in the recorded order, at the recorded time, to a shard that began with an empty store
(docs/ARCHITECTURE.md, invariant 4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.engine.core.activation import KILLS_PROCESSOR
from penstock.engine.core.keys import (
    ACTIVATION_DUE,
    DEADLINE_DUE,
    KEPT_DUE,
    NEVER_MS,
    RETRY_DUE,
    SCHEDULE_DUE,
    SHARD_KEY,
    START_DUE,
    TIMEOUT_DUE,
    TIMER_DUE,
    DueKey,
    due_bound,
    parse_due_key,
)
from penstock.engine.runtime.blocked import REFUSED_RECORD
from penstock.engine.runtime.due import DueInput, _input_of
from penstock.engine.runtime.encode import MISSING_TOPIC, REFUSED_TOPIC, Encoder
from penstock.engine.runtime.router import TaskRouter
from penstock.engine.runtime.shard import Refusal, Shard, ShardLimits
from penstock.engine.store.memory import MemoryStore
from penstock.schemas.encoding.codec import decode
from penstock.schemas.records.activity import ActivityAttemptFailed, ActivityRetried
from penstock.schemas.records.decisions import DecisionRecorded, Trigger
from penstock.schemas.records.kept import CommandGivenUp
from penstock.schemas.records.run import StartDelayEnded, WorkflowBlocked, WorkflowTimedOut, WorkflowUnblocked
from penstock.schemas.records.schedule import ScheduleAdvanced
from penstock.schemas.records.suspension import ActivationResumed
from penstock.schemas.records.timer import TimerFired
from penstock.topics.catalogue import Topics
from penstock.topics.log import StoredRecord
from tests.simulation.builds import BUILDS, USUAL
from tests.simulation.retention import KEPT_MS
from tests.simulation.story import Violation
from tests.simulation.workflows import LATE_QUEUE

Place = tuple[str, int, int]
LIMITS = ShardLimits(closed_kept_ms=KEPT_MS)


class Batch(msgspec.Struct, frozen=True):
    """Decisions of one transaction in one shard: their time, their inputs, and the records in `events`.

    `refused`: inputs that were set aside because they kept an earlier transaction from committing. `build`: of the
    workflow code that decided. `owner`: the process, which had no run in memory at first. `rows`: what it wrote."""

    now_ms: int
    inputs: Mapping[Place, StoredRecord]
    events: Sequence[bytes]
    refused: frozenset[Place]
    build: str
    owner: str
    rows: Mapping[bytes, bytes | None]


def redecide(shard: int, shards: int, topics: Topics, batches: Sequence[Batch]) -> None:
    """Decide the batches again. Raises Violation for one that gives other records than the first time."""
    counts: dict[str, int | None] = {}
    store = MemoryStore()
    router = TaskRouter(shards, lambda topic: counts.get(topic, 4))
    refused: set[str] = set()
    encoder = Encoder(shard, shards, topics, lambda topic: counts.get(topic, 4), router, refused=refused)
    again, owner = Shard(store, USUAL.hosted, encoder, LIMITS), ""
    for batch in batches:
        if batch.owner != owner:
            again.close()
            again, owner = Shard(store, BUILDS[batch.build].hosted, encoder, LIMITS), batch.owner
        if not batch.events and batch.rows.keys() == {SHARD_KEY} and not batch.inputs:
            continue  # it announces what is decided next, and nothing else
        if not BUILDS[batch.build].repeats:
            store.write(batch.rows)
            again.discard()
            again.runs.clear()
            continue
        decisions = [decode(data) for data in batch.events]
        events = [(decision, event) for decision in decisions for event in map(decode, decision.events)]
        is_missing = any(_is_of(event, MISSING_TOPIC) for _, event in events)
        counts[topics.tasks(LATE_QUEUE)] = None if is_missing else 4
        refused.clear()
        refused.update(event.message.split()[2] for _, event in events if _is_of(event, REFUSED_TOPIC))
        unblocked = _unblocked(events)
        again.blocked.waiting = deque(unblocked)
        retries = [decision.decision for decision, event in events if isinstance(event, WorkflowUnblocked)]
        fired = _Fired(again, [found for found in events if _is_fired(found[0], retries)])
        again._due.take = fired.take  # type: ignore[method-assign]
        _block_refused(again, events, topics)
        _withhold_deadly(again, events, topics)
        again.take(_in_order(batch, decisions, topics), batch.now_ms)
        layer = again.seal(batch.now_ms, timers=1)
        found = [] if layer is None else [record.value for record in layer.outputs if record.topic == topics.events]
        if found != list(batch.events):
            raise Violation("D (replay)", f"shard {shard} decides otherwise at {batch.now_ms}: {_first(batch, found)}")
        if layer is not None:
            store.write(layer.writes)
            again.confirm(layer)
    again.runs.clear()


def _is_of(event: Any, reason: str) -> bool:
    return isinstance(event, WorkflowBlocked) and event.reason == reason


def _is_fired(decision: DecisionRecorded, retries: Sequence[int]) -> bool:
    """Whether a timer caused the decision: neither an input nor the retry of a BLOCKED run."""
    return not decision.trigger.topic and decision.decision not in retries


class _Fired:
    """The timers that fired in a batch, in the order of their decisions, instead of those that are due at its time.

    Others may be due as well: they were beyond a bound, or had been postponed by a layer that left no record. What the
    log refused of a timer, and what processors died over, blocks its run here too."""

    def __init__(self, shard: Shard, events: Sequence[tuple[DecisionRecorded, Any]]) -> None:
        self._shard = shard
        by_number: dict[int, list[Any]] = {}
        self._decisions: dict[int, DecisionRecorded] = {}
        for decision, event in events:
            self._decisions.setdefault(decision.decision, decision)
            by_number.setdefault(decision.decision, []).append(event)
        self._events = by_number
        shard._due._next_ms = 0

    def take(self, now_ms: int, count: int) -> list[tuple[bytes, DueInput]]:
        """The keys and inputs of these timers."""
        due = {key: parse_due_key(key) for key, _ in self._shard._overlay.scan(b"T", due_bound(now_ms + 1))}
        self._shard._due._next_ms = NEVER_MS
        found = []
        for number, decision in self._decisions.items():
            key = self._key(decision, self._events[number], due)
            if key is not None:
                self._note_blocked(key, self._events[number])
                del due[key]
                found.append((key, _input_of(key)))
        return found

    def _key(self, decision: DecisionRecorded, events: Sequence[Any], due: Mapping[bytes, DueKey]) -> bytes | None:
        """Key of the timer of a decision; None if it was not due."""
        run = (decision.workflow_id, decision.run_id)
        ours = {key: one for key, one in due.items() if (one.workflow_id, one.run_id) == run}
        for event in events:
            for kind, mark in _KINDS.items():
                if isinstance(event, kind):
                    which = (mark, getattr(event, "sequence", getattr(event, "offset", 0)))
                    return next((key for key, one in ours.items() if (one.kind, one.sequence) == which), None)
        # Its decision could not be recorded, and its run is BLOCKED instead: one of its retries, or its activation.
        return next((key for key, one in ours.items() if one.kind in (RETRY_DUE, ACTIVATION_DUE, TIMEOUT_DUE)), None)

    def _note_blocked(self, key: bytes, events: Sequence[Any]) -> None:
        for event in events:
            if _is_of(event, REFUSED_RECORD):
                self._shard._refused[key] = Refusal(event, by_code=False)
            elif _is_of(event, KILLS_PROCESSOR):
                self._shard._deadly.add(key)


_KINDS = {
    ActivityAttemptFailed: TIMEOUT_DUE,
    TimerFired: TIMER_DUE,
    ActivityRetried: RETRY_DUE,
    ActivationResumed: ACTIVATION_DUE,
    StartDelayEnded: START_DUE,
    CommandGivenUp: KEPT_DUE,
    WorkflowTimedOut: DEADLINE_DUE,
    ScheduleAdvanced: SCHEDULE_DUE,
}


def _block_refused(shard: Shard, events: Sequence[tuple[Any, Any]], topics: Topics) -> None:
    """Let inputs and retries block their runs whose records the log had refused."""
    for decision, event in events:
        if not isinstance(event, WorkflowBlocked) or event.reason != REFUSED_RECORD:
            continue
        if decision.trigger.topic:
            topic, _, offset = place_of(decision.trigger, topics)
            shard._refused[topic, offset] = Refusal(event, by_code=False)
        else:
            shard._refused[decision.workflow_id] = Refusal(event, by_code=False)


def _withhold_deadly(shard: Shard, events: Sequence[tuple[Any, Any]], topics: Topics) -> None:
    """Let inputs block their runs that processors had died over."""
    for decision, event in events:
        if not isinstance(event, WorkflowBlocked) or event.reason != KILLS_PROCESSOR:
            continue
        if decision.trigger.topic:
            topic, _, offset = place_of(decision.trigger, topics)
            shard._deadly.add((topic, offset))


def place_of(trigger: Trigger, topics: Topics) -> Place:
    """Topic, partition and offset of the record of a trigger."""
    return (topics.name(trigger.topic), trigger.partition, trigger.offset)


def _in_order(batch: Batch, decisions: Sequence[Any], topics: Topics) -> list[StoredRecord]:
    """The inputs in the order of their decisions, each after those before it in its topic that have no decision."""
    left = sorted(batch.inputs.keys() - batch.refused)
    ordered: list[Place] = []
    for place in [place_of(found.trigger, topics) for found in decisions if found.trigger.topic]:
        before = [other for other in left if other[0] == place[0] and other[2] <= place[2]]
        ordered += before
        left = [other for other in left if other not in before]
    return [batch.inputs[place] for place in [*ordered, *left]]


def _unblocked(events: Sequence[tuple[Any, Any]]) -> list[str]:
    """Ids of the runs that were unblocked without a command."""
    return [
        decision.workflow_id
        for decision, event in events
        if isinstance(event, WorkflowUnblocked) and not decision.trigger.topic
    ]


def _first(batch: Batch, found: Sequence[bytes | None]) -> str:
    for index, expected in enumerate(batch.events):
        given = found[index] if index < len(found) else None
        if given != expected:
            return f"{decode(expected)}, the second time {decode(given) if given else 'nothing'}"
    return f"{len(found) - len(batch.events)} more decisions"
