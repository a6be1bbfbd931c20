"""How does one decision stand on the topic `events`? As one record: whose it is, what caused it, what happened."""

from __future__ import annotations

import msgspec


class Trigger(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What caused a decision: an input record by its place and message id, or a timer (`topic` is empty then)."""

    topic: str = ""
    partition: int = -1
    offset: int = -1
    message_id: str = ""


class DecisionRecorded(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one command, result or timer caused in one run.

    `decision` numbers the shard's decisions from 1; `now_ms` is the time they were decided at (epoch);
    `first_sequence` is the number in the run's history of `events[0]`, 0 when the input was ignored. Each of `events`
    is a record of its own in single-object encoding (its fingerprint names its schema).
    """

    workflow_id: str
    run_id: str
    shard: int
    decision: int
    now_ms: int
    trigger: Trigger
    first_sequence: int
    events: tuple[bytes, ...]
