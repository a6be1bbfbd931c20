"""Pending work of an engine in memory: whether anything can be decided before time passes, and what comes due next."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import NamedTuple

from penstock.engine.core.keys import DueKey
from penstock.engine.runtime.reads import Attempt, pending_work
from penstock.engine.store.store import StoreReader
from penstock.hosting.namespace import Namespace


class PendingWork(NamedTuple):
    """Pending work of all shards.

    `at_rest`: nothing can be decided before time passes; `inputs`: how many were decided so far; `due`: the earliest
    timer or retry; `attempts`: those that the workers have.
    """

    at_rest: bool
    inputs: int
    due: DueKey | None = None
    attempts: frozenset[Attempt] = frozenset()


def look(namespace: Namespace, stores: Mapping[int, StoreReader], now_ms: int) -> PendingWork:
    """Read the pending work of all shards.

    The inputs of each shard are counted before its rows are read and compared with the log afterwards, so that whatever
    is decided in between shows as work to do.
    """
    shards = {number: pending_work(store) for number, store in stores.items()}
    inputs = sum(sum(shard.offsets.values()) for shard in shards.values())
    due = min((shard.due for shard in shards.values() if shard.due is not None), key=attrgetter("due_ms"), default=None)
    input_topics = (namespace.topics.commands, namespace.topics.results)
    ends = namespace.log.ends([(topic, number) for number in shards for topic in input_topics])
    unread = any(shards[number].offsets.get(topic, first) < end for (topic, number), (first, end) in ends.items())
    attempts = frozenset[Attempt]().union(*(shard.attempts for shard in shards.values()))
    at_rest = not (len(shards) < namespace.shards or unread or (due is not None and due.due_ms <= now_ms))
    return PendingWork(at_rest, inputs, due if at_rest else None, attempts)
