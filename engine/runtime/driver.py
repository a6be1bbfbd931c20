"""The loop of a processor: poll, decide, commit, write the stores.

    poll ─→ decide on top of N ─→ N has ended? stores written (or all discarded), begin N+1 ─→ poll …

One turn holds the layers of all shards of the process. While turn N commits, arriving inputs are decided into N+1 on
top of it, until N has ended or N+1 is full: small turns would cost the broker more than deciding costs the processor.
If N did not commit, or its outcome is unknown, both are discarded and every shard goes back to its store, after the
changelog's tail was replayed. The driver runs on one thread; the simulator calls its steps."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures

import msgspec
import structlog

from penstock.engine.core.hosted import WITHOUT_CODE, Hosted
from penstock.engine.core.keys import NEVER_MS
from penstock.engine.runtime.backlog import Backlog
from penstock.engine.runtime.blocked import TRIED_MAX
from penstock.engine.runtime.commit import Commits
from penstock.engine.runtime.contact import Contact
from penstock.engine.runtime.encode import REFUSED_TOPIC, Encoder
from penstock.engine.runtime.flight import SUBMITTING, Gathered, InFlight
from penstock.engine.runtime.held import Held
from penstock.engine.runtime.openings import Opening, Openings
from penstock.engine.runtime.overlay import Layer
from penstock.engine.runtime.pace import TURN_BYTES_MAX, TURN_RECORDS_MAX, Pace, Room
from penstock.engine.runtime.plausible import warn_of_wrong_clock
from penstock.engine.runtime.refusals import Refusals
from penstock.engine.runtime.router import TaskRouter
from penstock.engine.runtime.run_cache import MemoryBudget
from penstock.engine.runtime.shard import Shard, ShardLimits
from penstock.engine.runtime.suspects import Suspects
from penstock.engine.runtime.suspicion import suspicion_of
from penstock.engine.runtime.takeover import Ownership, bring_up
from penstock.engine.runtime.topic_cache import TopicCache
from penstock.engine.runtime.trimming import Trimming
from penstock.engine.runtime.watch import DEADLINE_S, SLOW_S, end_process
from penstock.engine.store.changelog import CHANGELOG_OFFSET_KEY
from penstock.engine.store.store import Store, StoreReader
from penstock.schemas.errors import (
    LogError,
    RecordRefused,
    StateMismatch,
    TopicRefused,
    Undecodable,
    UnknownSchema,
)
from penstock.topics.catalogue import Topics
from penstock.topics.commit import Outcome, Turn
from penstock.topics.log import CommittedOffset, Log, StoredRecord, TopicPartition

logger = structlog.get_logger(__name__)

GATHER_S = 0.001
"""Interval of polls while one turn commits and the next is being filled."""

SUSPECT_POLL_S = 0.02


class DriverSettings(msgspec.Struct, frozen=True):
    """Bounds of one processor.

    `records_max`: inputs of a turn; `turn_records_max`, `turn_bytes_max`: records that it causes, rows included, and
    their bytes. `audit_window`: input records kept below the committed offset. `restore_slice_s`: how long a store is
    restored between two polls. `slow_activation_s`: how long workflow code may run without waiting before that is
    logged, `activation_deadline_s`: before it is interrupted. `private_log`: no other program can reach the log.
    `reset_clock`: set the clocks of shards back that a wrong clock had put ahead. `accept_loss`: open shards whose
    state does not fit the log."""

    records_max: int = 4_000
    turn_records_max: int = TURN_RECORDS_MAX
    turn_bytes_max: int = TURN_BYTES_MAX
    idle_s: float = 0.5
    commit_poll_s: float = 0.005
    commit_watchdog_s: float = 90.0
    settle_timeout_s: float = 30.0
    trim_interval_s: float = 60.0
    audit_window: int = 100_000
    restore_slice_s: float = 0.2
    slow_activation_s: float = SLOW_S
    activation_deadline_s: float = DEADLINE_S
    limits: ShardLimits = ShardLimits()
    private_log: bool = False
    reset_clock: bool = False
    accept_loss: bool = False


def wall_clock_ms() -> int:
    """The processor's clock, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Driver:
    """Runs the shards that its group membership grants to this process. All methods belong to one thread."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        shards: int,
        hosted: Hosted,
        *,
        open_store: Callable[[int], Store],
        transactional_id: str,
        commits: Commits,
        address: str = "",
        settings: DriverSettings = DriverSettings(),
        clock_ms: Callable[[], int] = wall_clock_ms,
        kill: Callable[
            [str], None
        ] = end_process,  # a commit that hangs has an unknown outcome, which only a restart settles
    ) -> None:
        self._log, self.topics, self.shards, self._hosted = log, topics, shards, hosted
        self._commits, self._settings = commits, settings
        self._clock_ms, self._kill = clock_ms, kill
        self._ownership = Ownership(log, topics, transactional_id, address)
        self._refusals = Refusals()
        self._openings = Openings(
            log,
            topics,
            self._ownership,
            open_store,
            self._refusals.openings,
            clock_ms,
            settings.restore_slice_s,
            accept_loss=settings.accept_loss,
        )
        self.topic_cache = TopicCache(log, clock_ms)
        self._router = TaskRouter(shards, self.topic_cache.partitions)
        self._budget = MemoryBudget(settings.limits.run_cache_bytes)
        self._held: dict[int, Held] = {}
        self._in_flight: InFlight | None = None
        self._gathered: Gathered | None = None
        self._pace = Pace(settings.records_max, settings.turn_records_max, settings.turn_bytes_max)
        self._backlog = Backlog()
        self._suspects = Suspects(
            self._held, self._backlog, self._router, self._refusals, clock_ms, self._commit, self._stop_unread
        )
        self._trimming = Trimming(log, settings.trim_interval_s, settings.audit_window)
        self._name = uuid.uuid4().hex[:8]
        self._went_back = False
        self._commits.recover(settings.settle_timeout_s)
        self.topic_cache.load()
        group = f"{topics.prefix}.{topics.namespace}.processors"
        self._member = log.join(group, [topics.commands, topics.results], self)
        self.contact = Contact(log, group, self._member)

    # The turn.

    def step(self, wait_s: float | None = None) -> bool:
        """One turn; returns whether anything was decided or restored. Waits at most `wait_s` for records.

        Raises LogError, StoreError. After LogUnavailable the next call continues where this one stopped."""
        if self._went_back:
            self._begin_again()
        self._open_granted()
        self._openings.close_expired()
        self._end_pauses()
        records = self._poll(wait_s)
        if self._went_back:
            return True  # a rebalance went back: these records lie beyond the positions to start from
        self._backlog.add(records)
        if self._in_flight is None and self._gathered is None and not self._suspects.decide_next():
            return True
        gathered = self._gather()
        if not self.settle(wait=gathered is not None and self._is_full(gathered)):
            return True
        if gathered is None or self._in_flight is not None:
            return bool(records) or self._openings.is_unfinished
        layers = self._seal(gathered)
        if layers:
            self._submit(layers, self._suspect(gathered, layers))
        return bool(records or layers)

    def settle(self, *, wait: bool) -> bool:
        """Handle the outcome of the turn in flight. False if everything was discarded; True otherwise."""
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
            self._go_back(outcome.error, flight)
            return False
        for layer in flight.layers:
            self._write(layer, outcome)
        self._in_flight = None  # not before the stores are written: wait_settled reads it
        self._pace.committed()
        self._note_accepted(flight.layers)
        self._trimming.trim_when_due(self._held, self._clock_ms())
        return True

    def close(self) -> None:
        """Settle the turn in flight, release every shard, leave the group."""
        self.settle(wait=True)
        self._member.close()
        self._openings.close()

    def abandon(self) -> None:
        """Close stores without leaving the group, after an error."""
        for held in self._held.values():
            held.shard.close()
            held.store.close()
        self._held.clear()
        self._openings.close()

    def wait_settled(self, timeout_s: float) -> None:
        """Wait until the turn in flight has reached the stores. For any thread.

        A caller that received a reply has seen the commit; what it reads next must not be older."""
        flight = self._in_flight
        deadline_s = time.monotonic() + timeout_s
        while flight is not None and flight.is_the_turn_of(self._in_flight) and time.monotonic() < deadline_s:
            time.sleep(0.001)

    def stores(self) -> dict[int, StoreReader]:
        """The stores of the shards owned now: committed rows, readable from any thread."""
        return {number: held.store for number, held in list(self._held.items())}

    def retry_blocked(self, *reasons: str) -> None:
        """Try runs BLOCKED for one of `reasons` again, by default those of every reason that may have passed."""
        for held in self._held.values():
            held.shard.blocked.try_again(*reasons)

    @property
    def pause_ends_ms(self) -> int:
        """When the next pause ends, of what the log refused or of a suspicion (epoch); NEVER_MS without any."""
        return min(self._refusals.next_ms(), self._suspects.quiet_at_ms())

    def _poll(self, wait_s: float | None) -> Sequence[StoredRecord]:
        gathered = self._gathered.records if self._gathered is not None else 0
        if wait_s is None:
            wait_s = self._wait_s()
            if gathered and self._in_flight is not None:  # wait for its end; inputs arrive meanwhile
                futures.wait((self._in_flight.future,), wait_s)
                wait_s = 0.0
        self.contact.polled()
        # One at least: without polls, the group would take this member for dead.
        return self._member.poll(max(1, self._pace.inputs - gathered - len(self._backlog)), wait_s)

    def _wait_s(self) -> float:
        if self._in_flight is not None:
            return GATHER_S if self._gathered is not None else self._settings.commit_poll_s
        if self._backlog or self._openings.is_unfinished:
            return 0.0
        if self._suspects.numbers():
            return SUSPECT_POLL_S
        due_ms = min([held.shard.next_due_ms for _, held in self._working()], default=NEVER_MS)
        due_ms = min(due_ms, self.pause_ends_ms)
        return min(max(0.0, (due_ms - self._clock_ms()) / 1000), self._settings.idle_s)

    def _working(self) -> list[tuple[int, Held]]:
        """The shards that decide at full speed: their own topics accept records, and no input is suspicious."""
        stopped = self._refusals.shards
        return [
            (number, held)
            for number, held in self._held.items()
            if held.suspicion is None and (not stopped or number not in stopped)
        ]

    def _gather(self) -> Gathered | None:
        """Decide inputs into the open layers; None if there is nothing to commit, due timers included."""
        gathered = self._gathered
        if gathered is None:
            now_ms = self._clock_ms()
            if self.topic_cache.has_news():
                self.retry_blocked()  # also those that were BLOCKED for another reason first
            if self._hosted.has_news():
                self.retry_blocked(*WITHOUT_CODE)
            if not self._backlog and not any(held.shard.is_due(now_ms) for _, held in self._working()):
                return None
            self._router.next_transaction()
            gathered = self._gathered = Gathered(now_ms, self._pace.room())
        if not gathered.room.is_used:
            for number, batch in self._backlog.take(self._pace.inputs - gathered.records, self._suspects.numbers()):
                if number in self._held and number not in self._refusals.shards and not self._went_back:
                    self._take(gathered, number, batch)
        return self._gathered  # None if a shard that had to stop made all go back

    def _take(self, gathered: Gathered, number: int, batch: list[StoredRecord]) -> None:
        if gathered.room.is_used:
            self._backlog.put_back(number, batch)
            return
        gathered.suspect = batch[0] if self._pace.isolates else None
        try:
            taken = self._held[number].shard.take(batch, gathered.clock_ms, gathered.room)
        except UnknownSchema as error:
            self._stop_unread(number, error)
            return
        gathered.records += taken
        if taken < len(batch):
            self._backlog.put_back(number, batch[taken:])

    def _is_full(self, gathered: Gathered) -> bool:
        return gathered.records >= self._pace.inputs or gathered.room.is_used

    def _seal(self, gathered: Gathered) -> list[Layer]:
        """End all open layers, to be committed as one turn."""
        self._gathered = None
        now_ms, isolates = gathered.clock_ms, self._pace.isolates
        timers, retries = self._besides(gathered)
        self._pace.extend(gathered.room)
        layers: list[Layer] = []
        for number, held in self._working():
            if held.shard.is_open or (timers + retries and held.shard.is_due(now_ms)):
                layer = self._sealed(number, now_ms, timers, retries, gathered.room)
                if layer is not None:
                    layers.append(layer)
                    if isolates:
                        break
        return layers

    def _sealed(self, number: int, now_ms: int, timers: int, retries: int, room: Room) -> Layer | None:
        """End a shard's open layer; None if there is nothing to commit, or the shard had to be stopped."""
        try:
            return self._held[number].shard.seal(now_ms, timers=timers, retries=retries, room=room)
        except UnknownSchema as error:
            self._stop_unread(number, error)
            return None

    def _besides(self, gathered: Gathered) -> tuple[int, int]:
        """Due timers and BLOCKED runs that each shard may add to a turn; one of them, or one input, if it isolates."""
        if not self._pace.isolates:
            return self._pace.timers, TRIED_MAX
        if gathered.records:
            return 0, 0
        has_timer = any(held.shard.next_due_ms <= gathered.clock_ms for _, held in self._working())
        return (1, 0) if has_timer else (0, 1)

    def _suspect(self, gathered: Gathered, layers: list[Layer]) -> StoredRecord | bytes | str | None:
        """What a turn holds alone, if it isolates."""
        if not self._pace.isolates:
            return None
        without_record: list[bytes | str] = [*layers[0].fired, *layers[0].retried]
        return gathered.suspect or next(iter(without_record), None)

    def _submit(self, layers: list[Layer], suspect: StoredRecord | bytes | str | None = None) -> None:
        deadline_s = time.monotonic() + self._settings.commit_watchdog_s
        self._in_flight = InFlight(layers, SUBMITTING, deadline_s, suspect)  # before a reply can arrive: wait_settled
        future = self._commits.submit(self._turn(layers), self._member)
        self._in_flight = InFlight(layers, future, deadline_s, suspect)

    def _commit(self, layer: Layer, suspect: StoredRecord | bytes | None = None) -> bool:
        """Commit a layer alone; returns whether it did commit."""
        self._submit([layer], suspect)
        return self.settle(wait=True)

    def _turn(self, layers: list[Layer]) -> Turn:
        offsets: dict[TopicPartition, CommittedOffset] = {}
        for layer in layers:
            shard = self._held[layer.shard].shard
            positions = layer.offsets or shard.positions() or {self.topics.commands: 0}
            mark = str(shard.transaction)  # takeover.py compares it with the changelog
            for topic, offset in positions.items():
                offsets[topic, layer.shard] = CommittedOffset(offset, mark)
        return Turn(
            changelog=[record for layer in layers for record in layer.changelog],
            outputs=[record for layer in layers for record in layer.outputs],
            offsets=offsets,
        )

    def _write(self, layer: Layer, outcome: Outcome) -> None:
        held = self._held[layer.shard]
        end = outcome.ends[self.topics.state_changelog, layer.shard]
        layer.writes[CHANGELOG_OFFSET_KEY] = end.to_bytes(8, "big")
        held.store.write(layer.writes)
        held.shard.confirm(layer)

    # A turn that did not commit.

    def _go_back(self, error: Exception, flight: InFlight) -> None:
        """Discard all open layers; the next turn starts where the stores are.

        A topic that refuses records is paused, or the shard that it belongs to. After any other error that repeats,
        turns are halved until an input or a timer is isolated; one whose record is refused then blocks its run."""
        logger.warning("transaction did not commit", error=str(error), kind=type(error).__name__)
        if isinstance(error, TopicRefused) and error.topic:
            self._note_refused(error)
        else:
            self._pace.failed(certain=isinstance(error, RecordRefused))
            if isinstance(error, RecordRefused) and flight.suspect is not None:
                self._held[flight.layers[0].shard].shard.refuse(flight.suspect, str(error), flight.layers[0])
        for held in self._held.values():
            held.shard.discard()
        self._gathered = None
        self._backlog.clear()
        self._went_back = True

    def _note_refused(self, error: TopicRefused) -> None:
        """Pause the topic for the runs that need it, or the shards that it belongs to."""
        topics = self.topics
        now_ms = self._clock_ms()
        if error.topic not in {topics.events, topics.state_changelog, topics.completions, topics.dead_letters}:
            delay_ms = self._refusals.topics.begin(error.topic, now_ms)
            logger.warning(
                "a topic refuses records; the runs that need it wait", topic=error.topic, retry_in_ms=delay_ms
            )
            return
        own = error.topic != topics.dead_letters and error.partition in self._held
        for number in [error.partition] if own else list(self._held):
            delay_ms = self._refusals.shards.begin(number, now_ms)
            logger.warning(
                "a shard stops: its topic refuses records", shard=number, topic=error.topic, retry_in_ms=delay_ms
            )
            self._member.pause(self._inputs([number]))

    def _end_pauses(self) -> None:
        """Try again what was refused: a shard from its store, a topic with one of the runs that need it, alone."""
        refusals = self._refusals
        if not (refusals.topics or refusals.shards) or self._in_flight is not None or self._gathered is not None:
            return
        now_ms = self._clock_ms()
        resumed = [number for number in refusals.shards.end_due(now_ms) if number in self._held]
        if resumed:
            self._went_back = True  # until they are started: what they had read before the pause is not decided
            self._member.resume(self._inputs(resumed))
            self._start(resumed)
            self._went_back = False
        for _ in refusals.topics.end_due(now_ms):
            self.retry_blocked(REFUSED_TOPIC)
            for number, _ in self._working():
                layer = self._sealed(number, now_ms, 0, 1, self._pace.room())
                if layer is not None:
                    self._commit(layer)
                    return

    def _note_accepted(self, layers: list[Layer]) -> None:
        """Forget the pauses of what the log accepts again."""
        refusals = self._refusals
        for layer in layers:
            if refusals.shards.accepted(layer.shard):
                logger.warning("a shard goes on: its topics accept records", shard=layer.shard)
            for topic in refusals.topics.known():
                if any(record.topic == topic for record in layer.outputs) and refusals.topics.accepted(topic):
                    logger.warning("a topic accepts records again", topic=topic)
                    self.retry_blocked()

    def _begin_again(self) -> None:
        """Settle the turn of unknown outcome, replay what did commit from the changelog, and start from there."""
        self._commits.recover(self._settings.settle_timeout_s)
        self.topic_cache.load()  # a topic may be gone: it blocks the runs that need it instead of the turn
        for number, held in list(self._held.items()):
            try:
                changed = bring_up(self._log, self.topics, number, held.store, self._clock_ms)
            except (StateMismatch, Undecodable) as error:
                self._stop(number, error)
                continue
            if changed:
                held.shard.runs.clear()  # rows changed under runs in memory, perhaps by a successor
            held.shard.discard()
        self._router.own(list(self._held))
        self._start([number for number in self._held if number not in self._refusals.shards])
        self._went_back = False

    # Membership (topics.log.Listener).

    def granted(self, partitions: Sequence[TopicPartition]) -> None:
        """These shards are opened before the next poll."""
        self._openings.granted.update(number for _, number in partitions)

    def released(self, partitions: Sequence[TopicPartition], *, lost: bool) -> None:
        """Settle the turn in flight, then give these shards up."""
        self.settle(wait=True)
        numbers = sorted({number for _, number in partitions} & self._held.keys())
        for _, number in partitions:
            self._openings.release(number)
        for number in numbers:
            held = self._held.pop(number)
            held.shard.discard()
            held.shard.close()
            self._openings.keep_open(number, held.store)
            self._backlog.drop(number)
            self._refusals.shards.accepted(number)
        if not any(held.shard.is_open for held in self._held.values()):
            self._gathered = None
        self._router.own(list(self._held))
        if numbers and not lost:
            self._announce_release(numbers)
        logger.info("shards released", shards=numbers, lost=lost)

    def _announce_release(self, numbers: list[int]) -> None:
        try:
            self._ownership.release(numbers, self._clock_ms())
        except LogError as error:
            logger.warning("release not announced", shards=numbers, error=str(error))

    def _open_granted(self) -> None:
        """Open what was granted; it is restored a slice at a time, and one that cannot be opened keeps none waiting."""
        openings = self._openings
        if not openings.granted:
            return
        for opening in openings.go_on(self._member, self._held):
            self._open(opening)
        opened = sorted(openings.granted & self._held.keys())
        if not opened:
            return
        self._router.own(list(self._held))
        self._start(opened)
        self._member.resume(self._inputs(opened))  # those of a shard that was stopped
        openings.close_kept_open()
        openings.granted.difference_update(opened)  # only now: if the log is away, they would stay unstarted
        logger.info("shards granted", shards=opened)

    def _open(self, opening: Opening) -> None:
        number, settings, now_ms = opening.number, self._settings, self._clock_ms()
        try:
            encoder = Encoder(
                number,
                self.shards,
                self.topics,
                self.topic_cache.partitions,
                self._router,
                private_log=settings.private_log,
                refused=self._refusals.topics,
                published=self.topic_cache.published,
            )
            floor_ms_max = now_ms if settings.reset_clock else NEVER_MS
            shard = Shard(
                opening.store,
                self._hosted,
                encoder,
                settings.limits,
                self._budget,
                floor_ms_max=floor_ms_max,
                owner=self._name,
                positions=opening.positions,
            )
            warn_of_wrong_clock(number, shard.now_ms - now_ms)
        except BaseException:
            opening.close()
            raise
        self._held[number] = Held(shard, opening.store)
        if not opening.is_clean:
            self._suspect_inputs(number, opening.before.ends)

    def _stop_unread(self, number: int, error: UnknownSchema) -> None:
        """Stop a shard before a record of a newer build; what it took before that record is committed.

        The shard is released in order, so that a newer build that it is granted to need not suspect the record."""
        if not self.settle(wait=True):
            return  # all shards are back at their stores; the record is met again
        shard, now_ms = self._held[number].shard, self._clock_ms()
        layer = None
        if shard.is_open:
            with contextlib.suppress(UnknownSchema):  # of a run that expires
                layer = shard.seal(now_ms, timers=0, retries=0)
        if layer is None:
            shard.discard()
        elif not self._commit(layer):
            return
        unmarked = shard.announce(None, now_ms)
        if unmarked is not None and not self._commit(unmarked):
            return
        self._announce_release([number])
        self._backlog.drop(number)
        self._stop(number, error)
        self._router.own(list(self._held))

    def _stop(self, number: int, error: Exception) -> None:
        """Close a shard whose log has changed under it; it is opened again as if it were granted."""
        held = self._held.pop(number)
        held.shard.close()
        held.store.close()
        self._refusals.shards.accepted(number)
        self._member.pause(self._inputs([number]))
        self._openings.stop(number, error)

    def _suspect_inputs(self, number: int, ends: Mapping[TopicPartition, tuple[int, int]]) -> None:
        """Decide one by one what the last owner of a shard may have begun: it came to an unclean end."""
        held = self._held[number]
        span = 2 * self._settings.records_max  # one turn that committed, one that was decided
        held.suspicion = suspicion_of(number, held.shard.positions(), ends, span, self._clock_ms())

    def _start(self, numbers: list[int]) -> None:
        """Start to deliver these shards' inputs from the positions in their stores."""
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
