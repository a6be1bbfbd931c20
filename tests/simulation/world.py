"""World of a simulation: one seed chooses which process takes a turn, what clients and workers do, and the faults.

Two phases: faults for a bounded number of turns, then healing without any. `simulate` returns the story of both, or
raises Failed with the story up to the violation.
"""

from __future__ import annotations

import random as random_module
import sys
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import structlog

from penstock.engine.execution import program
from penstock.engine.runtime import pace
from penstock.engine.runtime.takeover import Ownership
from penstock.schemas.errors import Fenced
from penstock.topics.catalogue import Topics, specs
from tests.simulation import broker as b
from tests.simulation import histories, verdict
from tests.simulation.auditor import Auditor
from tests.simulation.builds import BROKEN, NEXT, USUAL, Build
from tests.simulation.clients import REPLIES, Client
from tests.simulation.deleted import Deleted
from tests.simulation.dialogues import make
from tests.simulation.losses import KINDS, OF_INPUTS, Loss, require_closed
from tests.simulation.operators import Operator
from tests.simulation.process import DOWN, FROZEN, UP, Process
from tests.simulation.publications import AUDIT, PARTITIONS
from tests.simulation.scenarios import COMPLETION_BYTES_MAX, Scenario
from tests.simulation.story import Story, Violation
from tests.simulation.versioned import Versioned
from tests.simulation.weather import CHAOS_WEIGHTS, Weather
from tests.simulation.workers import Workers
from tests.simulation.workflows import LATE_QUEUE, QUEUES

START_MS = 1_700_006_370_000  # half a minute before midnight UTC
DAYS_MS = 30 * 3_600_000  # longer than messages and closed runs are remembered
PAUSES_NESTED_MAX = 2
HEAL_ROUNDS_MAX, PAUSE_MS_MAX = 600, 60_000
FAN_MAX = 6
TOPIC_REASONS = ("missing_topic", "refused_topic")
LOOKED_UP_MS_MAX = 5_000  # a missing topic is looked up again within a second
LATE_MS_MAX = 61_000  # of an idle shard's timer: one whose task topic was refused is tried again after a minute


def simulate(seed: int, change: Callable[[Weather], None] = lambda weather: None) -> World:
    """Run one seed to its end, in weather that `change` may alter. Raises Failed, which has the story."""
    world = World(seed, change)
    with world.logged(), world.bounded():
        try:
            world.storm()
            world.heal()
            verdict.check(world)
        except Violation as violation:
            world.story.tell("", f"VIOLATION of {violation}")
            raise Failed(world, violation) from violation
    return world


class Failed(AssertionError):
    """A seed that violated an invariant; its text is the story."""

    def __init__(self, world: World, violation: Violation) -> None:
        super().__init__(f"seed {world.seed}\n{world.story.text()}")
        self.world, self.violation = world, violation


class World:
    """Everything in one simulation."""

    def __init__(self, seed: int, change: Callable[[Weather], None] = lambda weather: None) -> None:
        self.seed = seed
        self.random = chance = random_module.Random(seed)
        self.now_ms = START_MS
        self.story = Story(lambda: self.now_ms - START_MS)
        self.weather = Weather(chance)
        change(self.weather)
        self.topics = Topics()
        self.shards = chance.choice((1, 2, 2, 3))
        self.broker = b.Broker(lambda: self.now_ms)
        for spec in specs(self.topics, self.shards, QUEUES):
            self.broker.create(spec.name, REPLIES if spec.name == self.topics.replies else spec.partitions)
        self.broker.create(AUDIT, PARTITIONS)
        self.broker.record_bytes_max[self.topics.completions] = COMPLETION_BYTES_MAX
        self.broker.transaction_records_max = self.weather.transaction_records_max
        self.auditor = Auditor(self.broker, self.topics, self.shards)
        self.auditor.history_max = self.weather.history_max or histories.chosen(seed)
        self.auditor.owner_of = self._owner_of
        self.auditor.require_open = lambda shards: require_closed(self.loss, shards, "a transaction changes")
        self.broker.on_commit = self.auditor.committed
        self.client = Client(self.broker, self.topics, self.shards, REPLIES, chance, self.story)
        self.workers = Workers(self.broker, self.topics, chance, self.story)
        self.scenarios: list[Scenario] = [make(chance, number) for number in range(chance.randint(6, 24))]
        resettable = [name for scenario in self.scenarios for name in scenario.resettable]
        self.operator = Operator(seed, self.weather, resettable)
        self.versioned = Versioned(seed, self.weather)
        self.scenarios += self.versioned.scenarios() + Deleted(seed, self.weather, self.auditor).scenarios()
        self.pending = [list(scenario.moves) for scenario in self.scenarios]
        self.processes = [Process(self, f"p{number}") for number in range(self.weather.processes)]
        self.broken = chance.choice(BROKEN)
        self.is_healing = False
        self.turn_number = 0
        self._delayed: list[tuple[int, str, int]] = []
        self._refusals: list[tuple[int, tuple[str, int]]] = []
        self._actor: list[str] = []
        self.loss: Loss | None = None
        self.warned: set[str] = set()  # ids of runs of which the log says that their history is long
        self.story.tell("", f"seed {seed}: {self.shards} shards, {len(self.processes)} processes; {self.weather}")

    # Faults.

    def storm(self) -> None:
        """Run all turns with faults."""
        while self.turn_number < self.weather.turns:
            self.turn()

    def turn(self) -> None:
        """One action of a process, a client, the workers or the faults."""
        self.turn_number += 1
        self.now_ms += 1
        actions: list[tuple[float, Callable[[], object]]] = [
            (40, self._step_one),
            (15, self._advance_one),
            (6, self._ask),
            (20, self.workers.work),
            (6, self._pass_time),
            (5, self._start_one),
            (2 * self.weather.chaos, self._chaos),
        ]
        weights = [weight for weight, _ in actions]
        self.random.choices([act for _, act in actions], weights)[0]()
        self.operator.act(self.client, self.auditor.runs)
        self._thaw()
        self._accept_again()
        self._deliver_delayed()
        self.auditor.look()

    def pause(self, process: Process, call: str) -> None:
        """Pause `process` in a call while others run; it may lose its membership meanwhile."""
        # An error being handled here would become the context of errors that other processes' workflows raise.
        if len(self._actor) > PAUSES_NESTED_MAX or sys.exception() is not None or self.loss is not None:
            return
        until = min(self.turn_number + self.random.choice((2, 8, 30, 80)), self.weather.turns)
        process.tell(f"pauses before {call}")
        self._perhaps_forgotten(process)
        while self.turn_number < until:
            self.turn()
        process.tell(f"continues with {call}")

    def _perhaps_forgotten(self, process: Process) -> None:
        """Perhaps end its session while it is paused; it may take a few polls to notice."""
        if self.random.random() < 0.5:
            process.deaf_polls = self.random.choice((0, 1, 2, 4))
            self._expel(process.log.member_ids(), f"{process.name}'s session ends")

    def delay_commit(self, process: Process, transactional_id: str, epoch: int) -> None:
        """Let a call to commit reach the log some turns later."""
        self._delayed.append((self.turn_number + self.random.randint(1, 60), transactional_id, epoch))

    def _deliver_delayed(self, transactional_id: str = "") -> bool:
        """Deliver delayed calls to commit: those that are due, and those of this transactional id."""
        due = [call for call in self._delayed if call[0] <= self.turn_number or call[1] == transactional_id]
        self._delayed = [call for call in self._delayed if call not in due]
        for _, found, epoch in due:
            self.story.tell("broker", f"receives an old call of {found} to commit")
            with suppress(Fenced):
                self.broker.commit(found, epoch)
        return bool(due)

    def let_end(self, reader: Process, transaction: b.Transaction) -> None:
        """End a transaction for which a read waits: its owner finishes it, or the coordinator aborts it."""
        if self.random.random() < 0.7 and self._deliver_delayed(transaction.id):
            return
        owner = next((process for process in self.processes if process.has_begun(transaction)), None)
        if owner is not None and owner.is_committing and self.random.random() < 0.5:
            owner.advance_commit()
        else:
            self.broker.time_out(transaction.id)
            self.story.tell("broker", f"aborts an open transaction of {transaction.id}, for which {reader.name} waits")

    def _up(self) -> list[Process]:
        return [process for process in self.processes if self._is_free(process)]

    def step(self, process: Process) -> bool:
        """One turn of a process."""
        with self._as(process):
            return process.step()

    @contextmanager
    def _as(self, process: Process) -> Iterator[None]:
        """Attribute what happens in the block to this process."""
        self._actor.append(process.name)
        try:
            yield
        finally:
            self._actor.pop()

    def _step_one(self) -> None:
        ready = self._up()
        if ready:
            self.step(self.random.choice(ready))

    def _advance_one(self) -> None:
        committing = [process for process in self.processes if process.is_committing]
        if committing:
            self._advance(self.random.choice(committing))

    def _advance(self, process: Process) -> None:
        """Run one step of a process's commit."""
        with self._as(process):
            process.advance_commit()

    def _ask(self) -> bool:
        """Let a client make its next move; returns whether one had a move to make."""
        ready = [moves for moves in self.pending if moves and moves[0].ready(self.auditor)]
        if not ready:
            return self.client.repeat_something()
        self.random.choice(ready).pop(0).act(self.client)
        return True

    def _pass_time(self) -> None:
        self.now_ms += self.random.choice((1, 20, 200, 1_500, 10_000))
        if self.weather.days and self.random.random() < self.weather.days:
            self._pass_days()

    def _pass_days(self) -> None:
        """Let days pass, once no input is left: later, repetitions would not be recognised."""
        for _ in range(40):
            if not verdict.inputs_left(self):
                if self.random.random() < 0.5:
                    self._compact()
                self.now_ms += DAYS_MS
                self.client.forget()
                self.story.tell("", "thirty hours pass")
                if self.random.random() < 0.5:
                    self._compact()
                return
            self._start_one()
            for process in self.processes:
                self._expel(process.ghosts, f"the session of {process.name}'s former member ends")
                if self._is_free(process):
                    self.step(process)
            while any(process.is_committing for process in self.processes):
                self._advance_one()
            self.auditor.look()

    def _start_one(self) -> None:
        down = [
            process
            for process in self.processes
            if process.state == DOWN and not process.in_call and self.turn_number >= process.until_turn
        ]
        if down:
            self._start(self.random.choice(down))

    def _start(self, process: Process) -> None:
        with self._as(process):
            process.start()

    # Chaos between turns.

    def _chaos(self) -> None:
        kinds = self.weather.chaos_kinds
        kind = self.random.choices(kinds, [CHAOS_WEIGHTS.get(kind, 1) for kind in kinds])[0]
        process = self.random.choice(self.processes)
        if kind in ("kill", "freeze", "away", "coup", "stop") and (process.state != UP or process.in_call):
            return
        match kind:
            case "kill":
                process.kill("is killed")
            case "freeze":
                process.state, process.until_turn = FROZEN, self.turn_number + self.random.randint(5, 90)
                process.tell("freezes")
                self._perhaps_forgotten(process)
            case "away":
                process.kill("is killed, and stays away")
                process.until_turn = self.turn_number + self.random.choice((50, 150, 400))
            case "coup":
                self._coup(process)
            case "expel":
                self._expel_one()
            case "stop":
                with self._as(process):
                    process.stop()
            case "skew":
                process.skew_ms = self.random.choice((0, -3_600_000, -500, 700, 60_000, 3_600_000))
                process.tell(f"has its clock set {process.skew_ms / 1000:+} s off")
            case "topic":
                self._create_late_topic()
            case "refuse":
                self._refuse_one()
            case "compact":
                self._compact()
            case "late_announcement":
                self._late_announcement(process)
            case "lose":
                self._lose_records()
            case "time_out":
                if self.broker.time_out(process.transactional_id):
                    self.story.tell("broker", f"aborts the open transaction of {process.name}")

    def _lose_records(self) -> None:
        """Lose acknowledged records of a shard for a while: the shard stays closed meanwhile, the others go on."""
        if self.loss is not None or any(process.in_call for process in self.processes):
            return
        self._delayed.clear()
        for transactional_id in list(self.broker.open):
            self.broker.time_out(transactional_id)
        shard, kind = self.random.randrange(self.shards), self.random.choice(list(KINDS))
        where = (self.topics.commands if kind in OF_INPUTS else self.topics.state_changelog, shard)
        offset = max((group.offsets.get(where, 0) for group in self.broker.groups.values()), default=0)
        loss = Loss(self.broker, self.processes, shard, offset, self.random)
        if not loss.begin(self.broker.partition(where), kind):
            return
        self.loss = loss
        self.story.tell("broker", loss.what)
        self._kill_users(lambda process: process.uses(shard))
        self._go_on_closed(loss)
        self._kill_users(lambda process: process.uses(shard))
        loss.end()
        self.loss = None
        self.story.tell("admin", f"restores {where[0]}[{shard}] from a backup")

    def _kill_users(self, uses: Callable[[Process], bool]) -> None:
        for process in filter(uses, self.processes):
            process.kill("is killed")
            self._expel(process.ghosts, f"the session of {process.name}'s former member ends")

    def _go_on_closed(self, loss: Loss) -> None:
        """Let processes take turns, and start those that are down, while a shard must stay closed."""
        for _ in range(self.random.randint(8, 40)):
            process = self.random.choice(self.processes)
            if process.is_committing:
                self._advance(process)
            elif self._is_free(process):
                self.step(process)
            elif process.state == DOWN:
                self._start(process)
            self.workers.work()
            self.now_ms += self.random.choice((1, 20, 1_500))
            self.auditor.look()
            held = {number for found in self.processes if found.driver is not None for number in found.driver._held}
            require_closed(loss, held, "a process holds")
            if loss.is_hidden:
                return

    def _refuse_one(self) -> None:
        """Let one partition that processors write take no records for a while.

        Not one of `commands`: a command that strays to another shard has to be written there before anything else of
        its turn. Not of `replies` either: an answer that cannot be sent is left out."""
        topics = self.topics
        own = [topics.events, topics.state_changelog, topics.completions, topics.dead_letters]
        where = self.random.choice(
            [found for found in self.broker.partitions if found[0] in own or ".tasks." in found[0]]
        )
        self.broker.refused.add(where)
        self._refusals.append((self.turn_number + self.random.choice((10, 60, 150)), where))
        self.story.tell("broker", f"takes no more records for {where[0]}[{where[1]}]")

    def _accept_again(self) -> None:
        for until_turn, where in list(self._refusals):
            if self.turn_number >= until_turn:
                self._refusals.remove((until_turn, where))
                self.broker.refused.discard(where)
                self.story.tell("broker", f"takes records for {where[0]}[{where[1]}] again")

    def _compact(self) -> None:
        where = (self.topics.state_changelog, self.random.randrange(self.shards))
        dropped = self.broker.partition(where).compact(self.now_ms)
        self.story.tell("broker", f"compacts {where[0]}[{where[1]}]: {dropped} records gone")

    def _late_announcement(self, process: Process) -> None:
        """A process's announcement of its shards arrives after that of a later owner."""
        owner = Ownership(process.log, self.topics, process.transactional_id, "")
        for shard in range(self.shards):
            self.broker.append(owner.entry(shard, self.now_ms, released=False))
        process.tell("announces its shards late: registry names it as their owner")

    def _coup(self, zombie: Process) -> None:
        """Freeze a process in the middle of a commit, and wake it up when its shards have a new owner."""
        for _ in range(6):
            if self._is_free(zombie) and not zombie.is_committing:
                self.workers.work()
                self._ask()
                self.step(zombie)
        for _ in range(self.random.choice((0, 1, 2, 3, 3, 3, 4))):
            if zombie.is_committing:
                self._advance(zombie)
        heirs = [process for process in self._up() if process is not zombie]
        if not heirs or not self._is_free(zombie):
            return
        zombie.state, zombie.until_turn = FROZEN, self.turn_number + 1_000
        zombie.tell("freezes, perhaps in mid-commit")
        self._expel(zombie.log.member_ids(), f"{zombie.name}'s session ends")
        self._go_on(heirs, self.random.randint(6, 20))
        zombie.state, zombie.deaf_polls = UP, self.random.choice((0, 0, 1, 2, 4))
        zombie.tell("wakes up")
        self._go_on([zombie, *heirs], self.random.randint(2, 12))

    def _go_on(self, processes: list[Process], turns: int) -> None:
        """Let these processes take turns, with work to do."""
        for _ in range(turns):
            self.random.choice((self.workers.work, self._ask, lambda: None))()
            process = self.random.choice(processes)
            if process.is_committing and self.random.random() < 0.5:
                self._advance(process)
            elif self._is_free(process):
                self.step(process)
            self.auditor.look()

    def _is_free(self, process: Process) -> bool:
        return process.state == UP and not process.in_call

    def _expel_one(self) -> None:
        for process in self.processes:
            if process.ghosts:
                self._expel(process.ghosts, f"the session of {process.name}'s former member ends")
                return
        process = self.random.choice(self.processes)
        if process.state == FROZEN or self.random.random() < 0.3:
            self._expel(process.log.member_ids(), f"{process.name}'s session ends")

    def _expel(self, members: list[str], why: str) -> None:
        for group in self.broker.groups.values():
            present = [member for member in members if member in group.members]
            for member in present:
                group.leave(member)
            if present:
                self.story.tell("broker", why)

    def _create_late_topic(self) -> None:
        topic = self.topics.tasks(LATE_QUEUE)
        if topic not in self.broker.counts:
            self.broker.create(topic, self.shards * 4)
            self.story.tell("admin", f"creates {topic}")

    def _thaw(self) -> None:
        for process in self.processes:
            if process.state == FROZEN and self.turn_number >= process.until_turn:
                process.state = UP
                process.tell("wakes up")

    # Healing.

    def heal(self) -> None:
        """End the faults. Raises Violation if work is left after a bounded number of rounds."""
        self.story.tell("", "the faults end; all work must be finished")
        self.weather.clear_up()
        self.is_healing = True
        self.turn_number += 1_000
        self._accept_again()
        self._deliver_delayed()
        self._time_out_orphans()
        self._create_late_topic()
        for process in self.processes:
            process.deaf_polls = 0
            if process.state == FROZEN:
                process.state = UP
            if process.state == UP and (process.build is not self.build or process.is_clone):
                with self._as(process):
                    process.stop()
        self._late_since_ms = self._healing_since_ms = self.now_ms
        quiet = 0
        for self.rounds in range(HEAL_ROUNDS_MAX):
            quiet = 0 if self._heal_round() else quiet + 1
            if quiet > 3 and not self._jump():
                return
            if quiet > 3:
                quiet = 0
        raise Violation("L (liveness)", f"not at rest {HEAL_ROUNDS_MAX} rounds after the last fault")

    def _time_out_orphans(self) -> None:
        """Abort transactions of processes that are gone, as the coordinator does: clones leave another's id behind."""
        own = [process for process in self.processes if process.state != DOWN or not process.is_clone]
        for transaction in list(self.broker.open.values()):
            if not any(process.has_begun(transaction) for process in own):
                self.broker.time_out(transaction.id)
                self.story.tell("broker", f"aborts the open transaction of {transaction.id}")

    def _heal_round(self) -> bool:
        """One turn of every process, the workers and the clients; returns whether anything happened."""
        busy, before = False, self.auditor.transactions  # a step that decides a suspect alone returns False
        for process in self.processes:
            self._expel(process.ghosts, f"the session of {process.name}'s former member ends")
            if process.state == DOWN:
                self._start(process)
                busy = True
            elif process.state == UP:
                busy |= self.step(process)
                while process.is_committing:
                    process.advance_commit()
                    busy = True
        for _ in range(4):
            busy |= self.workers.work()
        busy |= self._ask()
        busy |= self.operator.help(self.client, self.auditor.runs)
        self.now_ms += 1
        self.auditor.look()
        return busy or self.auditor.transactions > before or any(process.state == DOWN for process in self.processes)

    def _jump(self) -> bool:
        """Advance the time to the next due timer. Returns False if there is none.

        Which timers are due follows from the events alone. Raises Violation for one that is due and does not fire."""
        up = [(process, process.driver) for process in self.processes if process.driver is not None]
        timers = [
            due_ms - process.clock_ms
            for process, driver in up
            for number in driver._held
            for due_ms in self.auditor.punctuality[number].due.values()
        ]
        pauses = [driver.pause_ends_ms - process.clock_ms for process, driver in up]
        late_ms = -min(timers, default=0)
        if late_ms <= 0:
            self._late_since_ms = self.now_ms
        is_paused = any(0 < wait_ms < PAUSE_MS_MAX for wait_ms in pauses)
        if not is_paused and self.now_ms - self._late_since_ms > LATE_MS_MAX:
            raise Violation("C (timers)", f"a timer is due for {late_ms} ms, and its shard is idle")
        waits = timers + [wait_ms for wait_ms in pauses if wait_ms < 1 << 60]
        latest = [runs[-1] for runs in self.auditor.runs.values()]
        # A run that was BLOCKED for its code keeps that reason while it waits for a topic alone.
        is_early = self.now_ms - self._healing_since_ms < LOOKED_UP_MS_MAX
        if any(run.status == "blocked" and (is_early or run.blocked_reason in TOPIC_REASONS) for run in latest):
            waits.append(2_000)
        if not waits:
            return False
        self.now_ms += min((wait_ms for wait_ms in waits if wait_ms > 0), default=LATE_MS_MAX // 4)
        return True

    # Builds of the workflow code.

    @property
    def build(self) -> Build:
        """The build that all processes have in the end: it replays every history."""
        return NEXT if self.weather.builds == "next" else USUAL

    def build_of(self, process: Process) -> Build:
        """The build with which a process starts now: a successor is rolled out halfway, a broken one comes and goes."""
        if self.is_healing:
            return self.build
        if self.versioned.is_on:
            return self.versioned.build()
        if self.weather.builds == "broken" and self.random.random() < 0.4:
            # Another order is noticed within one activation; these here may hold a single request.
            return self.broken if self.weather.requests_max > FAN_MAX else BROKEN[0]
        if self.weather.builds == "next" and self.turn_number < self.weather.turns // 3:
            return USUAL
        return self.build

    def _owner_of(self, transaction: b.Transaction) -> tuple[str, str]:
        """Build and name of the process that commits a transaction; no name if all builds are the same."""
        if self.weather.builds == "usual" and not self.versioned.is_on:
            return USUAL.name, ""
        epoch = (transaction.id, transaction.epoch)
        return next(found.owners[epoch] for found in self.processes if epoch in found.owners)

    # Bounds of the engine that are constants or settings.

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Set the bounds of activations, of due timers and of histories in this block."""
        weather = self.weather
        with (
            patch.object(program, "REQUESTS_MAX", weather.requests_max),
            patch.object(pace, "DUE_MAX", weather.timers_max),
            histories.bounded(self.auditor.history_max),
        ):
            yield

    # Log messages of the engine.

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Add the engine's log messages to the story in this block; an error among them is a violation."""
        before = structlog.get_config()
        structlog.configure(
            processors=[self._note], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False
        )
        try:
            yield
        finally:
            structlog.configure(**before)

    def _note(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        words = event.pop("event")
        details = ", ".join(f"{key} {value}" for key, value in event.items() if key != "exc_info")
        histories.note_warning(self.warned, words, event)
        self.story.tell(self._actor[-1] if self._actor else "", f"“{words}” {details}")
        is_expected = self.loss is not None or "it begins anew" in details
        is_stopped = is_expected and words.startswith("a shard is stopped")
        if method in ("exception", "error") and not is_stopped:
            raise Violation("E (engine)", f"{words}: {traceback.format_exc()}")
        raise structlog.DropEvent
