"""Simulated processor: the production Driver, on a disk and a clock of its own."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol

from penstock.engine.core.rows import pack
from penstock.engine.runtime.driver import Driver, DriverSettings
from penstock.engine.runtime.shard import ShardLimits
from penstock.engine.store.changelog import CHANGELOG_OFFSET_KEY
from penstock.schemas.errors import LogError, LogUnavailable, StateMismatch, StoreError
from penstock.topics.catalogue import Topics
from penstock.topics.commit import Turn
from tests.simulation import broker as b
from tests.simulation.builds import USUAL, Build
from tests.simulation.client import SimLog
from tests.simulation.committer import AFTER, BEFORE, Fault, SimCommits
from tests.simulation.disk import Disk, SimStore
from tests.simulation.losses import Loss
from tests.simulation.retention import KEPT_MS
from tests.simulation.story import SimulatedCrash, Story, Violation
from tests.simulation.weather import Weather

UP, DOWN, FROZEN = "up", "down", "frozen"

_DELICATE = frozenset({"produce", "offsets", "the rest", "commit", "abort", "recover", "send", "fetch", "read_to_end"})
"""Calls in which a pause is dangerous."""

FOREIGN_OFFSET = 1 << 40
"""Changelog offset of a store that belongs to another log."""


class Surroundings(Protocol):
    """The parts of the world that a process uses."""

    random: Random
    broker: b.Broker
    topics: Topics
    shards: int
    story: Story
    weather: Weather
    now_ms: int

    def pause(self, process: Process, call: str) -> None:
        """Run other processes while this one pauses in a call."""

    def delay_commit(self, process: Process, transactional_id: str, epoch: int) -> None:
        """Let a call to commit reach the log later."""

    def let_end(self, reader: Process, transaction: b.Transaction) -> None:
        """End a transaction for which `reader` waits."""

    def build_of(self, process: Process) -> Build:
        """The workflow code with which a process starts now."""

    @property
    def processes(self) -> Sequence[Process]:
        """All processes."""

    @property
    def loss(self) -> Loss | None:
        """Records of a shard that are lost at present."""


class WatchedDriver(Driver):
    """The production driver, whose runs in memory are compared with their rows when it begins again."""

    def _begin_again(self) -> None:
        super()._begin_again()
        for number, held in self._held.items():
            for workflow_id, run in held.shard.runs._runs.items():
                found = held.store.get(run.header_key)
                if found != (pack(run.row) if run.row is not None else None):
                    raise Violation("M (memory)", f"shard {number} keeps {workflow_id} in memory as it was before")


class Process:
    """A process slot: its transactional id and its disk are permanent, its Driver is replaced at each start."""

    def __init__(self, world: Surroundings, name: str) -> None:
        self.world, self.name, self.random = world, name, world.random
        self.transactional_id = f"slot-{name}"
        self.disk = Disk()
        self.old_disk: Disk | None = None
        self.state, self.skew_ms, self.until_turn = DOWN, 0, 0
        self.deaf_polls = 0
        self.build = USUAL
        self.owners: dict[tuple[str, int], tuple[str, str]] = {}  # build and name of each start, by its epochs
        self.is_foreign = self.is_clone = False
        self.is_doomed = self.in_call = False
        self.driver: Driver | None = None
        self.log = SimLog(world.broker, self)
        self.commits = SimCommits(self, self.log.transactor(self.transactional_id))
        self.starts = 0
        self.ghosts: list[str] = []

    def tell(self, what: str) -> None:
        self.world.story.tell(self.name, what)

    # Actions of the simulator.

    def start(self) -> None:
        """Start a driver on the disk as it is."""
        world = self.world
        self._change_disk()
        self.starts += 1
        self.state = UP
        self.build = world.build_of(self)
        self.log = SimLog(world.broker, self, f"{self.name}.{self.starts}")
        self.commits = SimCommits(self, self.log.transactor(self.transactional_id))
        self.tell(f"starts ({len(self.disk.directories)} shards on its disk, {self.build.name} build)")
        self._run(self._begin)

    def _change_disk(self) -> None:
        """Perhaps lose the disk, or find an old copy of it, or one of another process or another log."""
        if self.is_foreign:
            return
        if self.is_clone:
            self.disk, self.transactional_id, self.is_clone = Disk(), f"slot-{self.name}", False
            self.tell("has a disk of its own again")
        if self.random.random() < self.world.weather.cloned_disk:
            self._clone(self.random.choice(self.world.processes))
            return
        if self.random.random() < self.world.weather.foreign_disk and self.disk.directories:
            self.is_foreign, self.disk = True, self.disk.copy()
            for directory in self.disk.directories.values():
                directory.rows[CHANGELOG_OFFSET_KEY] = FOREIGN_OFFSET.to_bytes(8, "big")
            self.tell("finds the disk of another log")
            return
        if self.random.random() < self.world.weather.disk_trouble:
            if self.old_disk is None or self.random.random() < 0.4:
                self.disk = Disk()
                self.tell("lost its disk")
            else:
                self.disk = self.old_disk.copy()
                self.tell("finds an old copy of its disk")
        if self.old_disk is None or self.random.random() < 0.3:
            self.old_disk = self.disk.copy()

    def _clone(self, other: Process) -> None:
        """Start on a copy of another process's data directory, which names its transactional id as well."""
        if other is not self and not other.is_foreign:
            self.disk, self.transactional_id, self.is_clone = other.disk.copy(), other.transactional_id, True
            self.tell(f"finds a copy of {other.name}'s disk")

    def step(self) -> bool:
        """One turn of its driver; returns whether it decided anything."""
        driver = self.driver
        assert driver is not None
        decided = self._run(lambda: driver.step(0))
        return bool(decided)

    def stop(self) -> None:
        """Stop it in order."""
        driver = self.driver
        assert driver is not None
        self.tell("is asked to stop")

        def end() -> None:
            driver.close()
            driver.abandon()

        self._run(end)
        if self.driver is driver:
            self._bury()

    def kill(self, why: str) -> None:
        """Kill it between two turns, or in the call it is in."""
        self.tell(why)
        if self.in_call:
            self.is_doomed = True
        else:
            self._bury()

    def advance_commit(self) -> None:
        """Run one more step of its commit."""
        flight = self.commits.flight
        assert flight is not None
        if self.in_call:  # its driver is paused in a call of its own
            try:
                flight.advance()
            except SimulatedCrash:
                assert self.is_doomed
        else:
            self._run(flight.advance)

    @property
    def is_committing(self) -> bool:
        """Whether a commit of its is in progress and not being run."""
        flight = self.commits.flight
        return self.state == UP and flight is not None and not flight.done() and not flight.is_running

    def has_begun(self, transaction: b.Transaction) -> bool:
        """Whether a transaction is of its present start."""
        return self.transactional_id == transaction.id and self.commits.epoch == transaction.epoch

    def uses(self, shard: int) -> bool:
        """Whether it holds the shard, or restores it."""
        return self.driver is not None and (shard in self.driver._held or shard in self.driver._openings._begun)

    @property
    def clock_ms(self) -> int:
        return self.world.now_ms + self.skew_ms

    def _begin(self) -> None:
        world, weather = self.world, self.world.weather
        self.driver = WatchedDriver(
            self.log,
            world.topics,
            world.shards,
            self.build.hosted,
            open_store=self._open_store,
            transactional_id=self.transactional_id,
            commits=self.commits,
            settings=DriverSettings(
                records_max=weather.records_max,
                turn_records_max=weather.turn_records_max,
                trim_interval_s=5,
                audit_window=weather.audit_window,
                restore_slice_s=0,
                limits=ShardLimits(run_cache_bytes=weather.run_cache_bytes, closed_kept_ms=KEPT_MS),
            ),
            clock_ms=lambda: self.clock_ms,
            kill=self._killed,
        )
        self.driver._openings.stop = self._stopped  # type: ignore[method-assign]

    def _run(self, act: Callable[[], object]) -> object:
        """Call the driver, and handle the errors that end the process."""
        self.in_call = True
        try:
            return act()
        except SimulatedCrash:
            self._bury()
        except LogUnavailable as error:
            self.tell(f"finds the log unavailable ({error})")
            if self.driver is None:
                self._bury()
        except StateMismatch as error:
            self._change_foreign_disk(error)
        except (LogError, StoreError) as error:
            self.tell(f"gives up: {type(error).__name__}: {error}")
            self._bury()
        except Violation:
            raise
        except Exception as error:
            raise Violation("E (engine)", f"{self.name} failed: {traceback.format_exc()}") from error
        finally:
            self.in_call = False
        return None

    def _stopped(self, number: int, error: Exception) -> None:
        """A shard is stopped: end the process, since an operator has to act, or go on while records are lost."""
        loss, driver = self.world.loss, self.driver
        is_expected = "it begins anew" in str(error) or (loss is not None and loss.shard == number)
        if self.is_foreign or not is_expected or driver is None:
            raise error
        type(driver._openings).stop(driver._openings, number, error)

    def _change_foreign_disk(self, error: StateMismatch) -> None:
        """Do as the error says: the operator deletes what belongs to another log."""
        if not self.is_foreign:
            raise Violation("S (store)", f"{self.name} calls a store of this log foreign: {error}") from error
        self.tell(f"gives up: {error}")
        self._bury()
        self.disk, self.is_foreign = Disk(), False

    def _bury(self) -> None:
        if self.driver is not None:
            for held in self.driver._held.values():
                held.shard.runs.clear()
                held.store.close()
            self.driver._openings.close()
        self.ghosts += self.log.member_ids()
        self.driver, self.state, self.is_doomed = None, DOWN, False
        self.commits.flight = None

    def _killed(self, message: str) -> None:
        raise Violation("L (liveness)", f"{self.name}'s watchdog struck: {message}")

    def _open_store(self, shard: int) -> SimStore:
        changelog = (self.world.topics.state_changelog, shard)
        return SimStore(
            self.disk.directory(shard), self.world.broker, changelog, lambda: self._at_store(BEFORE),
            lambda: self._at_store(AFTER),
        )  # fmt: skip

    # Faults (client.py, committer.py).

    def at(self, call: str) -> None:
        """Called before each call over the network: perhaps a fault."""
        self._crash_if_doomed()
        weather, chance = self.world.weather, self.random.random()
        if chance < weather.unavailable:
            self.tell(f"cannot reach the log ({call})")
            raise LogUnavailable(f"no answer to {call}")
        chance -= weather.unavailable
        if chance < weather.crash_in_call:
            self.crash(f"crashes before {call}")
        chance -= weather.crash_in_call
        if chance < (weather.pause if call in _DELICATE else weather.pause / 20):
            self.world.pause(self, call)
            self._crash_if_doomed()

    def awaits_offsets(self) -> bool:
        return self.world.weather.awaits_offsets

    def sends_late(self) -> bool:
        return self.world.weather.sends_late

    def notices_group(self) -> bool:
        self.deaf_polls -= 1
        return self.deaf_polls < 0 and self.random.random() >= self.world.weather.deaf

    def waits_for(self, transaction: b.Transaction) -> None:
        self.world.let_end(self, transaction)
        self._crash_if_doomed()

    def recovered(self, transactional_id: str, epoch: int) -> None:
        if transactional_id == self.transactional_id:
            self.owners[transactional_id, epoch] = (self.build.name, f"{self.name}.{self.starts}")

    def plan_commit(self, turn: Turn) -> Fault | None:
        return self.world.weather.plan_commit(self.random)

    def suffer(self, what: str) -> None:
        self.tell(what)

    def crash(self, why: str) -> None:
        self.tell(why)
        self.is_doomed = True
        raise SimulatedCrash(why)

    def delay_commit(self, transactional_id: str, epoch: int) -> None:
        self.world.delay_commit(self, transactional_id, epoch)

    def _crash_if_doomed(self) -> None:
        if self.is_doomed:
            raise SimulatedCrash("doomed")

    def _at_store(self, when: str) -> None:
        self._crash_if_doomed()
        chance = self.random.random()
        if chance < self.world.weather.crash_at_store:
            self.crash(f"crashes {when} a write to its store")
        elif when == BEFORE and chance < self.world.weather.crash_at_store + self.world.weather.disk_full:
            self.tell("has a full disk")
            raise StoreError("no space left on device")
