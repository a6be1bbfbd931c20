"""Who moves what the shards decide? One turn after the other: poll, decide, commit, write the stores.

    poll ─→ decide on top of N ─→ N has ended? stores written (or all discarded), begin N+1 ─→ poll …

One transaction a process holds the layers of all its shards. While N commits on the committer's thread, what arrives is
decided into N+1 on top of it, until N has ended or N+1 is full: small batches would make the broker's work dearer than
ours. If N did not commit, or nobody knows, both are discarded and every shard goes back to where its store is, after
the changelog's tail was replayed. The driver itself runs on one thread; the simulator turns it by hand.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from concurrent.futures import Future

import msgspec
import structlog

from penstock.engine.core.rows import NEVER_MS
from penstock.engine.runtime.committer import Committer, Outcome, Transaction
from penstock.engine.runtime.encode import Outputs, TaskRouter
from penstock.engine.runtime.overlay import Layer
from penstock.engine.runtime.run_cache import Definitions
from penstock.engine.runtime.shard import Shard, ShardLimits, by_shard
from penstock.engine.runtime.takeover import Ownership, bring_up
from penstock.engine.runtime.topic_cache import TopicFactsCache
from penstock.engine.runtime.watch import SLOW_S
from penstock.engine.store.changelog import CHANGELOG_OFFSET_KEY
from penstock.engine.store.store import Store, StoreReader
from penstock.schemas.errors import LogError, RecordTooLarge, UnknownTopic
from penstock.topics.catalogue import Topics
from penstock.topics.log import Log, StoredRecord, TopicPartition

log = structlog.get_logger(__name__)


GATHER_S = 0.001
"""How often arrivals are looked at while a transaction commits and others wait to follow it."""

PARKED_MS = 1_000
"""How long a released shard's store stays open for its return: closing and opening it takes 150 ms (measured)."""


class DriverSettings(msgspec.Struct, frozen=True):
    """Bounds of one processor. `audit_window`: input records kept below the committed offset; `slow_activation_s`: how
    long workflow code may run on without waiting before the log tells of it; `alone`: no other program can reach the
    log."""

    records_max: int = 4_000
    idle_s: float = 0.5
    commit_poll_s: float = 0.005
    commit_watchdog_s: float = 90.0
    settle_timeout_s: float = 30.0
    trim_interval_s: float = 60.0
    audit_window: int = 100_000
    slow_activation_s: float = SLOW_S
    limits: ShardLimits = ShardLimits()
    alone: bool = False


class Held:
    """A shard this process has, with its store."""

    __slots__ = ("shard", "store")

    def __init__(self, shard: Shard, store: Store) -> None:
        self.shard, self.store = shard, store


class Gathered(msgspec.Struct):
    """The inputs in the open layers: how many, their one reading of the clock, and which, if it is one alone."""

    clock_ms: int
    records: int = 0
    suspect: StoredRecord | None = None


class InFlight(msgspec.Struct, frozen=True):
    """A transaction on its way. `suspect`: the input that alone it comes from, known while one is being looked for."""

    layers: list[Layer]
    future: Future[Outcome]
    deadline_s: float
    suspect: StoredRecord | None


def wall_clock_ms() -> int:
    """The processor's clock: epoch milliseconds."""
    return time.time_ns() // 1_000_000


def _kill(message: str) -> None:
    """End the process: a commit that hangs has an unknown outcome, which only a restart settles."""
    log.critical("giving up", reason=message)
    os._exit(70)


class Driver:
    """Runs the shards that group membership grants to this process. All methods belong to one thread."""

    def __init__(
        self,
        events: Log,
        topics: Topics,
        shards: int,
        definitions: Definitions,
        *,
        open_store: Callable[[int], Store],
        transactional_id: str,
        committer: Committer,
        address: str = "",
        settings: DriverSettings = DriverSettings(),
        clock_ms: Callable[[], int] = wall_clock_ms,
        kill: Callable[[str], None] = _kill,
    ) -> None:
        self._log, self.topics, self.shards, self._definitions = events, topics, shards, definitions
        self._open_store, self._committer, self._settings = open_store, committer, settings
        self._clock_ms, self._kill = clock_ms, kill
        self._ownership = Ownership(events, topics, transactional_id, address)
        self.facts = TopicFactsCache(events, clock_ms)
        self._router = TaskRouter(shards, self.facts.partitions)
        self._held: dict[int, Held] = {}
        self._granted: set[int] = set()
        self._parked: dict[int, Store] = {}
        self._parked_until_ms = 0
        self._in_flight: InFlight | None = None
        self._gathered: Gathered | None = None
        self._records_max = settings.records_max
        self._careful = False
        self._trim_ms = 0
        self._went_back = False
        self._transactor = events.transactor(transactional_id)
        self._transactor.recover(settings.settle_timeout_s)
        self.facts.load()
        group = f"{topics.prefix}.{topics.namespace}.processors"
        self._member = events.join(group, [topics.commands, topics.results], self)

    # The turn.

    def step(self, wait_s: float | None = None) -> bool:
        """One turn; whether anything was decided. Waits at most `wait_s` for records.

        Raises LogError, StoreError. After LogUnavailable the next turn takes up what this one left undone."""
        if self._went_back:
            self._begin_again()
        self._open_granted()
        if self._parked and self._clock_ms() > self._parked_until_ms:
            self._close_parked()
        records = self._poll(wait_s)
        if self._went_back:
            return True  # shards changed hands meanwhile: these records lie beyond where we begin again
        gathered = self._gather(records)
        if not self.settle(wait=gathered is not None and gathered.records >= self._records_max):
            return True
        if gathered is None or self._in_flight is not None:
            return bool(records)
        layers = self._seal(gathered)
        if layers:
            self._submit(layers, gathered.suspect)
        return bool(records or layers)

    def settle(self, *, wait: bool) -> bool:
        """See how the transaction in flight ended. True: committed, or none was; False: everything was discarded."""
        flight = self._in_flight
        if flight is None:
            return True
        left_s = flight.deadline_s - time.monotonic()
        if not wait and not flight.future.done() and left_s > 0:
            return True
        try:
            outcome = flight.future.result(max(0.0, left_s))
        except TimeoutError:
            self._kill(f"a commit took longer than {self._settings.commit_watchdog_s} s")
            raise
        if outcome.error is not None:
            self._in_flight = None
            self._go_back(outcome.error, flight.suspect)
            return False
        for layer in flight.layers:
            self._write(layer, outcome)
        self._in_flight = None  # not before the stores are written: wait_settled looks at it
        self._records_max = min(self._records_max * 2, self._settings.records_max)
        self._careful = False
        self._trim()
        return True

    def close(self) -> None:
        """Drain: settle what is in flight, hand every shard over, leave the group."""
        self.settle(wait=True)
        self._member.close()
        self._close_parked()
        self._transactor.close()

    def abandon(self) -> None:
        """Let go of files without a goodbye, after an error."""
        for held in self._held.values():
            held.shard.close()
            held.store.close()
        self._held.clear()
        self._close_parked()

    def wait_settled(self, timeout_s: float) -> None:
        """Wait until what is in flight now has reached the stores. From any thread.

        A caller who got a reply has seen the commit; what it reads next must not be older than that."""
        flight = self._in_flight
        deadline_s = time.monotonic() + timeout_s
        while flight is not None and self._in_flight is flight and time.monotonic() < deadline_s:
            time.sleep(0.001)

    def stores(self) -> dict[int, StoreReader]:
        """The stores of the shards held now: committed rows, readable from any thread."""
        return {number: held.store for number, held in list(self._held.items())}

    def retry_blocked(self, reason: str) -> None:
        """Try runs parked for `reason` again."""
        for held in self._held.values():
            held.shard.retry_blocked(reason)

    def _poll(self, wait_s: float | None) -> Sequence[StoredRecord]:
        gathered = self._gathered.records if self._gathered is not None else 0
        if wait_s is None:
            wait_s = self._wait_s()
            if gathered and self._in_flight is not None:  # its end is what is waited for; inputs come meanwhile
                futures.wait((self._in_flight.future,), wait_s)
                wait_s = 0.0
        return self._member.poll(self._records_max - gathered, wait_s)

    def _wait_s(self) -> float:
        if self._in_flight is not None:
            return GATHER_S if self._gathered is not None else self._settings.commit_poll_s
        due_ms = min((held.shard.next_due_ms for held in self._held.values()), default=NEVER_MS)
        return min(max(0.0, (due_ms - self._clock_ms()) / 1000), self._settings.idle_s)

    def _gather(self, records: Sequence[StoredRecord]) -> Gathered | None:
        """Decide these into the open layers; None when there is nothing to commit, timers included."""
        gathered = self._gathered
        if gathered is None:
            now_ms = self._clock_ms()
            if self.facts.has_news():
                self.retry_blocked("missing_topic")
            if not records and not any(held.shard.is_due(now_ms) for held in self._held.values()):
                return None
            self._router.next_transaction()
            gathered = self._gathered = Gathered(now_ms)
        if records:
            gathered.records += len(records)
            gathered.suspect = records[0] if self._careful and gathered.records == 1 else None
            for number, batch in by_shard(records).items():
                if number in self._held:
                    self._held[number].shard.take(batch, gathered.clock_ms)
        return gathered

    def _seal(self, gathered: Gathered) -> list[Layer]:
        """All that is open, as one transaction will commit it."""
        self._gathered = None
        now_ms, alone = gathered.clock_ms, self._careful and gathered.records > 0
        layers: list[Layer] = []
        for held in self._held.values():
            if held.shard.is_open or (held.shard.is_due(now_ms) and not alone):
                layer = held.shard.seal(now_ms, alone=alone)
                if layer is not None:
                    layers.append(layer)
        return layers

    def _submit(self, layers: list[Layer], suspect: StoredRecord | None) -> None:
        future = self._committer.submit(self._transactor, self._member, self._transaction(layers))
        deadline_s = time.monotonic() + self._settings.commit_watchdog_s
        self._in_flight = InFlight(layers, future, deadline_s, suspect)

    def _transaction(self, layers: list[Layer]) -> Transaction:
        offsets: dict[TopicPartition, int] = {}
        for layer in layers:
            positions = layer.offsets or self._held[layer.shard].shard.positions() or {self.topics.commands: 0}
            offsets.update({(topic, layer.shard): offset for topic, offset in positions.items()})
        return Transaction(
            records=[record for layer in layers for record in layer.records],
            offsets=offsets,
            track=frozenset((self.topics.state_changelog, layer.shard) for layer in layers),
        )

    def _write(self, layer: Layer, outcome: Outcome) -> None:
        held = self._held[layer.shard]
        end = outcome.ends[self.topics.state_changelog, layer.shard]
        layer.writes[CHANGELOG_OFFSET_KEY] = end.to_bytes(8, "big")
        held.store.write(layer.writes)
        held.shard.confirm(layer)

    # When it did not commit.

    def _go_back(self, error: Exception, suspect: StoredRecord | None) -> None:
        """Discard all open layers; the next turn begins again where the stores are.

        What the log refuses it will refuse again: batches are halved until one input stands alone and is set aside."""
        log.warning("transaction did not commit", error=str(error), kind=type(error).__name__)
        if isinstance(error, RecordTooLarge | UnknownTopic):
            if suspect is not None and suspect.partition in self._held:
                self._held[suspect.partition].shard.set_aside(suspect)
            self._records_max = max(1, self._records_max // 2)
            self._careful = self._records_max == 1
        for held in self._held.values():
            held.shard.discard()
        self._gathered = None
        self._went_back = True

    def _begin_again(self) -> None:
        """Settle the transactional id, learn from the changelog what did commit after all, deliver from there."""
        self._transactor.recover(self._settings.settle_timeout_s)
        self.facts.load()  # a topic may be gone: what is to be sent there blocks its run instead of the transaction
        self._router.own(list(self._held))
        for number, held in self._held.items():
            if bring_up(self._log, self.topics, number, held.store, self._clock_ms()):
                held.shard.runs.clear()  # rows changed under runs in memory, perhaps by a successor's hand
            held.shard.discard()
        self._start(list(self._held))
        self._went_back = False

    # Membership (topics.log.Listener).

    def granted(self, partitions: Sequence[TopicPartition]) -> None:
        """These shards are opened before the next poll."""
        self._granted.update(number for _, number in partitions)

    def released(self, partitions: Sequence[TopicPartition], *, lost: bool) -> None:
        """Finish what these shards have in flight, then let go of them."""
        self.settle(wait=True)
        numbers = sorted({number for _, number in partitions} & self._held.keys())
        self._granted -= {number for _, number in partitions}
        for number in numbers:
            held = self._held.pop(number)
            held.shard.discard()
            held.shard.close()
            self._parked[number] = held.store
        if not any(held.shard.is_open for held in self._held.values()):
            self._gathered = None
        self._parked_until_ms = self._clock_ms() + PARKED_MS
        self._router.own(list(self._held))
        if numbers and not lost:
            try:
                self._ownership.release(numbers, self._clock_ms())
            except LogError as error:
                log.warning("goodbye not said", shards=numbers, error=str(error))
        log.info("shards released", shards=numbers, lost=lost)

    def _open_granted(self) -> None:
        if not self._granted:
            return
        fresh = sorted(self._granted - self._held.keys())
        for number in fresh:
            self._ownership.take(number, self._clock_ms())
        # Waits for the end of each transaction that holds offsets of these inputs (KIP-447). One that got its offsets
        # in before this grant, from an owner that `registry` does not name, may have sent no record yet: where the
        # changelog ends would not tell of it.
        self._member.committed(self._inputs(fresh), self._settings.settle_timeout_s)
        for number in fresh:
            self._open(number)
        self._router.own(list(self._held))
        opened = sorted(self._granted)
        self._start(opened)
        self._close_parked()
        self._granted.clear()  # only now: a log that is away must not leave shards open that nobody starts
        log.info("shards granted", shards=opened)

    def _open(self, number: int) -> None:
        store = self._parked.pop(number, None) or self._open_store(number)
        try:
            bring_up(self._log, self.topics, number, store, self._clock_ms())
            partitions, alone = self.facts.partitions, self._settings.alone
            outputs = Outputs(number, self.shards, self.topics, partitions, self._router, alone=alone)
            shard = Shard(number, self.shards, self.topics, store, self._definitions, outputs, self._settings.limits)
        except BaseException:
            store.close()
            raise
        self._held[number] = Held(shard, store)

    def _close_parked(self) -> None:
        """Let go of stores that were kept open because most rebalances give a shard back at once."""
        for store in self._parked.values():
            store.close()
        self._parked.clear()

    def _start(self, numbers: list[int]) -> None:
        """Deliver these shards' inputs from where their stores are."""
        partitions = self._inputs(numbers)
        if not partitions:
            return
        firsts = self._log.ends(partitions)
        positions: dict[TopicPartition, int] = {}
        for topic, number in partitions:
            known = self._held[number].shard.positions()
            positions[topic, number] = known.get(topic, firsts[topic, number][0])
        self._member.start(positions)

    def _inputs(self, numbers: list[int]) -> list[TopicPartition]:
        return [(topic, number) for number in numbers for topic in (self.topics.commands, self.topics.results)]

    def _trim(self) -> None:
        """Delete inputs that were processed long ago, now and then."""
        now_ms = self._clock_ms()
        if now_ms < self._trim_ms:
            return
        self._trim_ms = now_ms + int(self._settings.trim_interval_s * 1000)
        below: dict[TopicPartition, int] = {}
        for number, held in self._held.items():
            for topic, offset in held.shard.committed_positions().items():
                if offset > self._settings.audit_window:
                    below[topic, number] = offset - self._settings.audit_window
        if below:
            try:
                self._log.trim(below)
            except LogError as error:
                log.warning("inputs not trimmed", error=str(error))
