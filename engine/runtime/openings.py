"""Opening of shards that were granted: fence the previous owner, restore the store, compare both with the log.

A store is restored in slices, between which the processor polls and decides for its other shards: the group takes a
member that does not poll for dead. A shard that cannot be opened yet, or whose state does not fit the log, keeps no
other waiting; it is tried again at growing intervals.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping

import structlog

from penstock.engine.runtime.refusals import DELAY_MS_MAX, Pauses
from penstock.engine.runtime.takeover import (
    Ownership,
    Processed,
    bringing_up,
    positions_after_loss,
    processed,
    require_state,
)
from penstock.engine.store.store import Store
from penstock.schemas.errors import LogUnavailable, NotAdmitted, StateMismatch, Undecodable, UnknownSchema
from penstock.topics.catalogue import Topics
from penstock.topics.log import CommittedOffset, Log, Member, TopicPartition

logger = structlog.get_logger(__name__)

OPEN_TIMEOUT_S = 2.0
"""How long a shard is waited for before the others are opened: the thread that polls does nothing else meanwhile."""

KEPT_OPEN_MS = 1_000
"""How long the store of a released shard is kept open: closing and opening it takes 150 ms (measured)."""

PROGRESS_S = 10.0
"""Interval of log lines about a restore."""


class Opening:
    """A shard that is being opened.

    `before`: what the log said before the restore. `is_clean`: whether the last owner came to an orderly end.
    `positions`: of its inputs by topic, where the state does not say them because a loss was accepted."""

    def __init__(
        self,
        number: int,
        store: Store,
        steps: Generator[tuple[int, int], None, bool],
        before: Processed,
        *,
        is_clean: bool,
    ) -> None:
        self.number, self.store, self.before, self.is_clean = number, store, before, is_clean
        self._steps = steps
        self._logged_s = time.monotonic()
        self.positions: Mapping[str, int] = {}

    def go_on(self, slice_s: float) -> bool:
        """Restore for that long, one batch at least; returns whether the store is up to date.

        Raises StateMismatch, LogUnavailable, Undecodable, StoreError."""
        began_s = time.monotonic()
        for offset, end in self._steps:
            now_s = time.monotonic()
            if now_s - self._logged_s >= PROGRESS_S:
                self._logged_s = now_s
                logger.info("restoring a shard", shard=self.number, offset=offset, end=end)
            if now_s - began_s >= slice_s:
                return False
        return True

    def begin_anew(self, steps: Generator[tuple[int, int], None, bool]) -> None:
        """Restore the store from nothing, by these steps."""
        self._steps.close()
        self.store.wipe()
        self._steps = steps

    def close(self) -> None:
        """Give it up; what was restored stays."""
        self._steps.close()
        self.store.close()


class Openings:
    """Shards that are granted and not open yet, and stores that are kept open for their return.

    `accept_loss`: open shards whose state does not fit the log all the same, with what the log has."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        ownership: Ownership,
        open_store: Callable[[int], Store],
        pauses: Pauses[int],
        clock_ms: Callable[[], int],
        slice_s: float,
        *,
        accept_loss: bool = False,
    ) -> None:
        self._log, self._topics, self._ownership, self._open_store = log, topics, ownership, open_store
        self._pauses, self._clock_ms, self._slice_s = pauses, clock_ms, slice_s
        self._accept_loss = accept_loss
        self.granted: set[int] = set()
        self._begun: dict[int, Opening] = {}
        self._kept_open: dict[int, Store] = {}
        self._kept_open_until_ms = 0
        self._pending: dict[int, TopicPartition] = {}
        self._is_cut_short = False

    @property
    def is_unfinished(self) -> bool:
        """Whether there is more to do at once: a store to restore, or a shard to begin with."""
        return bool(self._begun) or (self._is_cut_short and bool(self.granted))

    def go_on(self, member: Member, held: Collection[int]) -> Iterator[Opening]:
        """Go on with each granted shard that is not held; yields those whose store is up to date.

        One that cannot be opened ends the round: it has kept the polling thread for a while."""
        self._pauses.end_due(self._clock_ms())
        self._is_cut_short = False
        for number in sorted(self.granted.difference(held)):
            if number not in self._pauses:
                try:
                    opening = self._restored(number, member)
                except LogUnavailable as error:
                    self._note_unopened(number, error)
                    self._is_cut_short = True
                    return
                except (NotAdmitted, StateMismatch, Undecodable) as error:
                    self.stop(number, error)
                else:
                    if opening is not None:
                        yield opening

    def stop(self, number: int, error: Exception) -> None:
        """Keep a shard closed for a while: what it would begin with is not what was there, or of a newer build."""
        self.granted.add(number)
        if isinstance(error, NotAdmitted | UnknownSchema):
            self._stop_outgrown(number, error)
            return
        delay_ms = self._pauses.begin(number, self._clock_ms())
        logger.error(
            "a shard is stopped, because its state does not fit the log; the others go on",
            shard=number,
            error=str(error),
            retry_in_ms=delay_ms,
        )

    def _stop_outgrown(self, number: int, error: NotAdmitted | UnknownSchema) -> None:
        """Keep a shard closed that a newer build has to take; this one looks at long intervals whether it can."""
        delay_ms = self._pauses.begin(number, self._clock_ms(), DELAY_MS_MAX)
        place = {"topic": error.topic, "offset": error.offset} if isinstance(error, UnknownSchema) else {}
        logger.error(
            "a shard is stopped, because a newer build has written to it; no run is blocked, and the others go on. "
            "Replace this process with that build, which goes on where this one stopped",
            shard=number,
            **place,
            error=error.detail if isinstance(error, UnknownSchema) else str(error),
            retry_in_ms=delay_ms,
        )

    def release(self, number: int) -> None:
        """Forget a shard that was released. If it is granted again, its predecessor has to be fenced again."""
        self.granted.discard(number)
        self._pauses.accepted(number)
        if number in self._begun:
            self._begun.pop(number).close()

    def keep_open(self, number: int, store: Store) -> None:
        """Keep the store of a released shard open, because most rebalances return a shard at once."""
        self._kept_open[number] = store
        self._kept_open_until_ms = self._clock_ms() + KEPT_OPEN_MS

    def close_expired(self) -> None:
        """Close stores that were kept open for long enough."""
        if self._kept_open and self._clock_ms() > self._kept_open_until_ms:
            self.close_kept_open()

    def close_kept_open(self) -> None:
        """Close the stores that were kept open."""
        for store in self._kept_open.values():
            store.close()
        self._kept_open.clear()

    def close(self) -> None:
        """Close all stores."""
        for opening in self._begun.values():
            opening.close()
        self._begun.clear()
        self.close_kept_open()

    def _restored(self, number: int, member: Member) -> Opening | None:
        """The shard if its store is up to date and fits the log; None if there is more to restore.

        Raises LogUnavailable, StateMismatch, Undecodable: it begins again then."""
        opening = self._begun.pop(number, None) or self._begin(number, member)
        try:
            if not self._restore(opening):
                self._begun[number] = opening
                return None
            self._compare(opening)
        except BaseException:
            opening.close()
            raise
        self._pauses.accepted(number)
        self._ownership.opened(number)
        return opening

    def _restore(self, opening: Opening) -> bool:
        """Go on with the restore; returns whether it is done."""
        try:
            return opening.go_on(self._slice_s)
        except StateMismatch as error:
            if not self._accept_loss:
                raise
            logger.warning("a loss is accepted: the store is restored anew", shard=opening.number, error=str(error))
            log, topics, store = self._log, self._topics, opening.store
            opening.begin_anew(bringing_up(log, topics, opening.number, store, self._clock_ms, checked=False))
            return False

    def _compare(self, opening: Opening) -> None:
        """Require that the restored state fits the log. Raises StateMismatch."""
        try:
            require_state(self._log, self._topics, opening.number, opening.store, opening.before)
        except StateMismatch as error:
            if not self._accept_loss:
                raise
            opening.positions = positions_after_loss(self._log, opening.number, opening.store, opening.before)
            logger.warning(
                "a loss is accepted: the shard is opened with the state that there is",
                shard=opening.number,
                positions=opening.positions,
                error=str(error),
            )

    def _begin(self, number: int, member: Member) -> Opening:
        """Begin after the transactions of the shard's previous owner have ended. Raises LogUnavailable."""
        is_clean = self._ownership.take(number, self._clock_ms())
        committed: dict[TopicPartition, CommittedOffset] = {}
        # Waits for the end of each transaction that holds offsets of these inputs (KIP-447). One that sent its offsets
        # before this grant, from an owner that `registry` does not name, may have sent no record yet: the changelog's
        # end would not show it.
        for partition in self._inputs(number):
            self._pending[number] = partition
            committed.update(member.committed([partition], OPEN_TIMEOUT_S))
            del self._pending[number]
        store = self._kept_open.pop(number, None) or self._open_store(number)
        try:
            before = processed(self._log, self._topics, number, store, committed)
        except BaseException:
            store.close()
            raise
        steps = bringing_up(self._log, self._topics, number, store, self._clock_ms)
        return Opening(number, store, steps, before, is_clean=is_clean)

    def _note_unopened(self, number: int, error: LogUnavailable) -> None:
        """Say that a shard has to wait, unless the log is away altogether. Raises LogUnavailable then."""
        pending = self._pending.pop(number, None)
        self._log.ends(self._inputs(number))
        delay_ms = self._pauses.begin(number, self._clock_ms())
        if pending is None:
            logger.warning(
                "a shard cannot be opened yet; the others go on", shard=number, error=str(error), retry_in_ms=delay_ms
            )
            return
        topic, partition = pending
        logger.warning(
            "a shard cannot be opened yet, because a transaction with offsets of its inputs does not end; the others "
            "go on. If this lasts, end that transaction (kafka-transactions.sh: see the guide to operating)",
            shard=number,
            topic=topic,
            partition=partition,
            transactional_id=self._ownership.predecessors.get(number, "unknown"),
            error=str(error),
            retry_in_ms=delay_ms,
        )

    def _inputs(self, number: int) -> list[TopicPartition]:
        return [(topic, number) for topic in (self._topics.commands, self._topics.results)]
