"""What if one safeguard were missing? Each mutation takes one away; the simulator must notice, or it is worthless."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from penstock.engine.core import decide as decide_module
from penstock.engine.core import evolve as evolve_module
from penstock.engine.runtime import outputs as outputs_module
from penstock.engine.runtime import shard as shard_module
from penstock.engine.runtime.driver import Driver
from penstock.engine.runtime.shard import Shard
from penstock.engine.runtime.takeover import Ownership
from penstock.schemas import events as e
from penstock.topics.log import StoredRecord
from tests.simulation.broker import Broker, Group
from tests.simulation.client import SimLog


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Take the safeguard of that name away for the length of the block."""
    target, attribute, replacement = MUTATIONS[name]
    table, keys = _TABLES.get(name, ({}, ()))
    with patch.object(target, attribute, replacement), patch.dict(table, dict.fromkeys(keys, replacement)):
        yield


# The driver.


def _store_first(self: Driver, layers: list[Any], submit: Callable[..., None] = Driver._submit) -> None:
    for layer in layers:
        self._held[layer.shard].store.write(dict(layer.writes))
    submit(self, layers)


def _keep_next_layer(self: Driver, *, wait: bool, settle: Callable[..., bool] = Driver.settle) -> bool:
    settle(self, wait=wait)
    return True


def _no_restore(self: Driver) -> None:
    self._transactor.recover(1)
    self._start(list(self._held))
    self._went_back = False


def _no_seek(self: Driver, begin_again: Callable[[Driver], None] = Driver._begin_again) -> None:
    with patch.object(Driver, "_start", lambda self, numbers: None):
        begin_again(self)


def _no_recover(self: Driver, begin_again: Callable[[Driver], None] = Driver._begin_again) -> None:
    with patch.object(self._transactor, "recover", lambda timeout_s: None):
        begin_again(self)


def _no_settle(
    self: Driver, partitions: Any, *, lost: bool, released: Callable[..., None] = Driver.released
) -> None:
    with patch.object(Driver, "settle", lambda self, *, wait: True):
        released(self, partitions, lost=lost)


def _no_predecessor(self: Ownership, shard: int, now_ms: int) -> None:
    self._announce([shard], now_ms, released=False)


# The shard.


def _keep_coroutines(self: Shard) -> None:
    self._overlay.layers.clear()
    self._load()
    self.retry_blocked()


def _no_floor(self: Shard, load: Callable[[Shard], None] = Shard._load) -> None:
    load(self)
    self._now_ms = 0


def _early(due_ms: int, due_bound: Callable[[int], bytes] = shard_module.due_bound) -> bytes:
    return due_bound(due_ms + 40)


def _any_attempt(run: Any, row: Any, result: Any) -> str:
    if row is None or row.run_id != result.run_id or run.activity(result.sequence) is None:
        return "its activity has ended"
    return ""


def _first_attempt_again(self: Any, run: Any, decision: Any, found: Any, *rest: Any) -> Any:
    if found.tasks:
        found.tasks.append(found.tasks[0])
    return _records(self, run, decision, found, *rest)


_records = outputs_module.Outputs.records


def _timer_left(working: Any, event: Any, now_ms: int) -> None:
    working.row.pending_timers -= 1
    key = evolve_module.sequence_key(b"t", working.workflow_id, working.run_id, event.sequence)
    working.writes[key] = None


# The log.


def _impatient(self: SimLog, where: tuple[str, int], start: int, end: int) -> Iterator[list[StoredRecord]]:
    yield self.broker.partition(where).committed(start, 1_000_000)[0]


MUTATIONS: Mapping[str, tuple[Any, str, Any]] = {
    "the store is written before the commit": (Driver, "_submit", _store_first),
    "the next layer survives an abort": (Driver, "settle", _keep_next_layer),
    "nothing is restored after an unknown outcome": (Driver, "_begin_again", _no_restore),
    "inputs are not sought back after an abort": (Driver, "_begin_again", _no_seek),
    "the transactional id is not recovered after a failure": (Driver, "_begin_again", _no_recover),
    "a released shard's transaction is not awaited": (Driver, "released", _no_settle),
    "the predecessor is not fenced": (Ownership, "take", _no_predecessor),
    "touched coroutines survive an abort": (Shard, "discard", _keep_coroutines),
    "the shard's clock has no floor": (Shard, "_load", _no_floor),
    "timers fire early": (shard_module, "due_bound", _early),
    "inputs are trimmed as soon as they are decided": (Shard, "committed_positions", Shard.positions),
    "messages are not remembered": (Shard, "_seen", lambda self, *rest: None),
    "results of any attempt count": (decide_module, "_stale", _any_attempt),
    "a task is sent twice": (outputs_module.Outputs, "records", _first_attempt_again),
    "fired timers stay in the index": (evolve_module, "_timer_ended", _timer_left),
    "the group's generation is not checked": (Group, "admits", lambda self, member, generation: True),
    "epochs are not checked": (Broker, "_fence", lambda self, transactional_id, epoch: None),
    "a restore does not wait for open transactions": (SimLog, "_batches", _impatient),
}

# `evolve` and `decide` look functions up in tables: those entries change along.
_TABLES: Mapping[str, tuple[dict[Any, Any], tuple[Any, ...]]] = {
    "fired timers stay in the index": (evolve_module._APPLY, (e.TimerFired, e.TimerCancelled)),
}
