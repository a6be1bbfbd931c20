"""A decision as it stands on the topic `events`: whose it is, what caused it, what happened."""

from __future__ import annotations

import msgspec


class Trigger(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Cause of a decision: an input record, or a timer (`topic` is empty then).

    `topic`: `commands` or `results`, without prefix and namespace."""

    topic: str = ""
    partition: int = -1
    offset: int = -1
    message_id: str = ""


class Listening(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Signals and conditions that a run's code awaits, signals it has not read, and what it answers.

    `awaited`: names of signals; `conditions`: number of conditions; `unread`: number of unread values by signal;
    `queries`, `updates`: those that its code answers, without methods of a class. At most 20 names each, of at most 100
    characters."""

    awaited: tuple[str, ...] = ()
    conditions: int = 0
    unread: dict[str, int] = {}
    queries: tuple[str, ...] = ()
    updates: tuple[str, ...] = ()


class DecisionRecorded(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one input caused in one run.

    `decision` numbers the shard's decisions from 1; one that touches two runs of an id (it closes one and starts the
    next) is recorded for each under the same number. `now_ms` is its time (epoch). `first_sequence` is the number in
    the run's history of `events[0]`, 0 for unnumbered events. Each of `events` is a record of its own in single-object
    encoding: its fingerprint names its schema. `listening` is what the run's code awaits after it, null for nothing.
    `appended_ms` is when the log received the input, for a timer the log's time as far as the shard knew it (epoch):
    retention goes by it."""

    workflow_id: str
    run_id: str
    shard: int
    decision: int
    now_ms: int
    trigger: Trigger
    first_sequence: int
    events: tuple[bytes, ...]
    listening: Listening | None = None
    appended_ms: int = 0
