"""Turns of inputs that may have ended the last owner of their shard (suspicion.py says why)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from penstock.engine.core.keys import NEVER_MS
from penstock.engine.runtime.backlog import Backlog
from penstock.engine.runtime.held import Held
from penstock.engine.runtime.overlay import Layer
from penstock.engine.runtime.refusals import Refusals
from penstock.engine.runtime.router import TaskRouter
from penstock.engine.runtime.suspicion import DEATHS_MAX, QUIET_MS
from penstock.schemas.errors import UnknownSchema
from penstock.topics.log import StoredRecord

Suspect = StoredRecord | bytes
"""An input, or a due timer by its key in the due index."""


class Commit(Protocol):
    """Commits a layer alone; returns whether it did commit."""

    def __call__(self, layer: Layer, suspect: Suspect | None = None, /) -> bool: ...


class Suspects:
    """Decides suspicious inputs one by one, each announced by the turn before. The other shards wait meanwhile.

    `stop`: stops a shard before a record of a newer build."""

    def __init__(
        self,
        held: Mapping[int, Held],
        backlog: Backlog,
        router: TaskRouter,
        refusals: Refusals,
        clock_ms: Callable[[], int],
        commit: Commit,
        stop: Callable[[int, UnknownSchema], None],
    ) -> None:
        self._held, self._backlog, self._router, self._refusals = held, backlog, router, refusals
        self._clock_ms, self._commit, self._stop = clock_ms, commit, stop

    def numbers(self) -> list[int]:
        """The shards with suspicious inputs."""
        return [number for number, held in self._held.items() if held.suspicion is not None]

    def quiet_at_ms(self) -> int:
        """When the next suspicion ends if nothing arrives (epoch); NEVER_MS without any."""
        suspicions = [held.suspicion for held in self._held.values() if held.suspicion is not None]
        return min([suspicion.quiet_ms + QUIET_MS for suspicion in suspicions], default=NEVER_MS)

    def decide_next(self) -> bool:
        """Decide the next input that may have ended the last owner of a shard, announced and alone in its turn.

        Returns whether all that was submitted committed, and the shard goes on."""
        for number, held in self._held.items():
            if held.suspicion is None or number in self._refusals.shards:
                continue
            suspect = self._next_suspect(number, held)
            if suspect is None:
                continue
            try:
                return self._announce(held, suspect) and self._decide_alone(number, held, suspect)
            except UnknownSchema as error:
                self._stop(number, error)
                return False
        return True

    def _next_suspect(self, number: int, held: Held) -> Suspect | None:
        """The next suspicious input that has arrived, or timer; None if there is none, or none is left."""
        suspicion = held.suspicion
        assert suspicion is not None
        record, now_ms = self._backlog.first(number), self._clock_ms()
        if record is not None and suspicion.covers(record):
            return record
        due = held.shard.first_due(min(suspicion.due_ms, max(now_ms, held.shard.now_ms)))
        if due is not None:
            return due
        if suspicion.is_over(held.shard.positions(), now_ms):
            held.suspicion = None
            held.shard.mark_next(None)
            return None
        return record

    def _announce(self, held: Held, suspect: Suspect) -> bool:
        layer = held.shard.announce(suspect, self._clock_ms())
        if layer is None:
            return True
        return self._commit(layer)

    def _decide_alone(self, number: int, held: Held, suspect: Suspect) -> bool:
        """Decide a suspicious input, and announce the one after it by the same turn."""
        shard, now_ms = held.shard, self._clock_ms()
        if held.suspicion is not None:
            held.suspicion.quiet_ms = now_ms
        if shard.deaths(suspect) >= DEATHS_MAX:
            shard.block_deadly(suspect)
        self._router.next_transaction()
        timers = 1
        if not isinstance(suspect, bytes):
            shard.take([self._backlog.pop(number)], now_ms)
            timers = 0
            following = self._backlog.first(number)
            shard.mark_next(following if following is not None and self._is_suspect(held, following) else None)
        layer = shard.seal(now_ms, timers=timers, retries=0)
        if layer is None:
            return True
        return self._commit(layer, suspect)

    def _is_suspect(self, held: Held, record: StoredRecord) -> bool:
        return held.suspicion is not None and held.suspicion.covers(record)
