"""Auditor of the log: checks the invariants at every moment, from committed records alone.

`committed` checks each transaction when it becomes visible; `look` follows the topic `events`. Both raise Violation.
Checks that are possible only at the end are in verdict.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock.engine.core.keys import CLOSED, HISTORY, JOINED, MESSAGE, RUN, SHARD_KEY, UPDATE
from penstock.engine.core.limits import HISTORY_MAX
from penstock.engine.core.rows import ShardRow, unpack_shard
from penstock.engine.core.versions import versions_of
from penstock.schemas.encoding.codec import decode, decode_command
from penstock.schemas.errors import Undecodable
from penstock.schemas.ids import SCHEDULE_PREFIX
from penstock.schemas.records.activity import ActivityRetried, ActivityScheduled
from penstock.schemas.records.child import ResolveChild
from penstock.schemas.records.completions import WorkflowClosed
from penstock.schemas.records.dead_letters import DeadLetter
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.kept import CommandGivenUp
from penstock.schemas.records.replies import Reply
from penstock.schemas.records.reset import WorkflowForked, WorkflowReset
from penstock.schemas.records.retention import WorkflowDeleted, WorkflowImported
from penstock.schemas.records.run import (
    CancelWorkflow,
    ResultAwaited,
    StartWorkflow,
    TerminateWorkflow,
    WorkflowStarted,
    WorkflowTerminated,
)
from penstock.schemas.records.tasks import ActivityTask
from penstock.topics.catalogue import Topics
from penstock.topics.log import TopicPartition
from penstock.topics.partitioner import partition_of
from tests.simulation.broker import Broker, Entry, Transaction
from tests.simulation.builds import BUILDS, USUAL
from tests.simulation.fold import Fold
from tests.simulation.origins import Origins
from tests.simulation.punctuality import Punctuality
from tests.simulation.reads import Reads, is_query
from tests.simulation.redecide import Batch, place_of
from tests.simulation.retention import Retention
from tests.simulation.story import Violation
from tests.simulation.truth import CLOSING, OF_SCHEDULES, REPORTS, UNNUMBERED, Run, is_followed
from tests.simulation.versions import NAME, Versions

Place = tuple[str, int, int]
Decisions = Sequence[tuple[DecisionRecorded, list[Any]]]
EXPIRING = (CLOSED, MESSAGE, JOINED, UPDATE, HISTORY, RUN)


class Auditor:
    """Everything that the log has recorded."""

    def __init__(self, broker: Broker, topics: Topics, shards: int) -> None:
        self._broker, self._topics, self._shards = broker, topics, shards
        self._details: dict[tuple[str, int, int], bytes] = {}  # of tasks, until their decisions are read
        self._read = dict.fromkeys(range(shards), 0)
        self._decisions = dict.fromkeys(range(shards), 0)
        self._last: dict[int, DecisionRecorded] = {}
        self._now_ms = dict.fromkeys(range(shards), 0)
        self._triggers: dict[Place, int] = {}
        self._tasks: set[tuple[str, int, int]] = set()
        self.origins = Origins()
        self._keys: dict[str, tuple[str, str, int]] = {}
        self._attempts: set[tuple[str, int]] = set()
        self.history_max = HISTORY_MAX
        self.children: dict[tuple[str, str, int], StartWorkflow] = {}
        self.stops: set[tuple[type, str, str]] = set()
        self.runs: dict[str, list[Run]] = {}
        self.completions: Counter[str] = Counter()
        self.ends: dict[str, WorkflowClosed] = {}  # by run id
        self.replies: dict[str, list[Reply]] = {}
        self.replied: dict[str, list[tuple[int, Reply]]] = {}  # the same, with the partitions
        self.awaited: dict[str, tuple[str, ResultAwaited]] = {}  # run id and event, by message id
        self.schedules: dict[str, list[tuple[int, list[Any]]]] = {}  # time and events of each decision, by id
        self.deletions: dict[str, list[str]] = {}  # messages that deleted the runs of an id
        self.dead_letters: list[DeadLetter] = []
        self.batches: dict[int, list[Batch]] = {}
        self.transactions = 0
        self._folds = {shard: Fold() for shard in range(shards)}
        self.retention = {shard: Retention() for shard in range(shards)}
        self.punctuality = {shard: Punctuality() for shard in range(shards)}
        self.reads = {shard: Reads() for shard in range(shards)}
        self._versions = {shard: Versions() for shard in range(shards)}
        self._queries: dict[Place, Entry] = {}
        self.judge_deletion: Callable[..., str] = lambda *arguments: ""
        self.require_open: Callable[[set[int]], None] = lambda shards: None
        self.owner_of: Callable[[Transaction], tuple[str, str]] = lambda transaction: (USUAL.name, "")

    def present(self, workflow_id: str) -> Run | None:
        """The id's latest run; None if it has none."""
        found = self.runs.get(workflow_id)
        return found[-1] if found else None

    # Whole transactions.

    def committed(self, transaction: Transaction, before: Mapping[TopicPartition, int]) -> None:
        """Check a transaction that became visible; the group's offsets were `before`."""
        self.transactions += 1
        by_topic: dict[str, list[Entry]] = {}
        for entry in transaction.entries:
            by_topic.setdefault(entry.where[0], []).append(entry)
        recorded = [decode(entry.value or b"") for entry in by_topic.get(self._topics.events, ())]
        decisions = [(decision, [decode(data) for data in decision.events]) for decision in recorded]
        letters = [decode(entry.value or b"") for entry in by_topic.get(self._topics.dead_letters, ())]
        commands = [decode_command(entry.value or b"") for entry in by_topic.get(self._topics.commands, ())]
        self.dead_letters.extend(letters)
        for entry in by_topic.get(self._topics.replies, ()):
            reply = decode(entry.value or b"")
            self.replies.setdefault(reply.message_id, []).append(reply)
            self.replied.setdefault(reply.message_id, []).append((entry.where[1], reply))
        tasks = self._tasks_in(by_topic)
        self._details.update({(task.run_id, task.sequence, task.attempt): task.details for task in tasks})
        self._check_outputs(decisions, tasks, by_topic)
        self._check_inherited(decisions, tasks, commands)
        inputs = self._check_inputs(transaction, before, decisions, letters, commands)
        changelog = by_topic.get(self._topics.state_changelog, [])
        rows = self._check_offsets(transaction, changelog)
        self.require_open(set(rows))
        hosted = versions_of(BUILDS[self.owner_of(transaction)[0]].hosted.workflows, NAME)
        for number, row in rows.items():
            ours = [found for found in decisions if found[0].shard == number]
            self._versions[number].follow(ours, hosted, self._version_asked)
            self._check_rows(number, row, ours, by_topic.get(self._topics.events, []), changelog)
            self.punctuality[number].follow(ours, row.now_ms, isolates=inputs == 1)
            written_ms = max(entry.at_ms for entry in changelog)
            self._follow_queries(number, written_ms, ours, by_topic.get(self._topics.replies, ()))
        self._keep(transaction, before, by_topic, letters, rows)

    def _version_asked(self, decision: DecisionRecorded) -> int:
        """The version that the start behind a decision names, 0 for none."""
        topic, partition, offset = place_of(decision.trigger, self._topics)
        command = decode_command(self._broker.partition((topic, partition)).entries[offset].value or b"")
        return command.version if isinstance(command, StartWorkflow) else 0

    def _tasks_in(self, by_topic: Mapping[str, list[Entry]]) -> list[ActivityTask]:
        found = []
        for topic, entries in by_topic.items():
            if self._topics.queue_of(topic) is not None:
                for entry in entries:
                    task = decode(entry.value or b"")
                    assert isinstance(task, ActivityTask)
                    found.append(task)
        return found

    def _check_inherited(self, decisions: Decisions, tasks: list[ActivityTask], commands: list[Any]) -> None:
        """Check that tasks and starts of children have the headers of their run's start, and tasks the seed of the run
        that requested them.

        Two activities have different idempotency keys, and no attempt is sent twice under one."""
        for decision, events in decisions:
            self.origins.follow(decision, events)
        for task in tasks:
            activity = self.origins.of((task.workflow_id, task.run_id, task.sequence))
            if task.seed != self.origins.seed(activity):
                raise Violation("P (propagation)", f"{task} has another seed than its run")
            self._check_headers(task, task.headers, self.origins.started[task.workflow_id, task.run_id])
            if self._keys.setdefault(task.idempotency_key, activity) != activity:
                raise Violation("P (propagation)", f"{task} has the key of {self._keys[task.idempotency_key]}")
            if (task.idempotency_key, task.attempt) in self._attempts:
                raise Violation("P (propagation)", f"{task} was sent before, under its key")
            self._attempts.add((task.idempotency_key, task.attempt))
        ended = {decision.run_id for decision, events in decisions if isinstance(events[-1], WorkflowReset)}
        for command in commands:
            if isinstance(command, ResolveChild) and command.child_run_id in ended:
                raise Violation("M (by hand)", f"a run was reset, and its parent was told: {command}")
            if isinstance(command, StartWorkflow) and command.parent_workflow_id.startswith(SCHEDULE_PREFIX):
                continue  # scheduled.py
            if isinstance(command, StartWorkflow) and command.parent_workflow_id:
                started = self.origins.started[command.parent_workflow_id, command.parent_run_id]
                self._check_headers(command, command.headers, started)
                asked = (command.parent_workflow_id, command.parent_run_id, command.parent_sequence)
                self.children[asked] = command
            elif isinstance(command, CancelWorkflow | TerminateWorkflow):
                self.stops.add((type(command), command.workflow_id, command.run_id))

    def _check_headers(self, record: Any, headers: Mapping[str, str], started: WorkflowStarted) -> None:
        if not started.headers.items() <= headers.items():
            raise Violation("P (propagation)", f"{record} lacks headers of its run: {started.headers}")

    def _check_outputs(
        self, decisions: Decisions, found: list[ActivityTask], by_topic: Mapping[str, list[Entry]]
    ) -> None:
        """Check that tasks and completions are those of the decisions in the same transaction."""
        expected_tasks: Counter[tuple[str, int, int]] = Counter()
        expected_ends: Counter[str] = Counter()
        for decision, events in decisions:
            for event in events:
                if isinstance(event, ActivityScheduled):
                    expected_tasks[decision.run_id, event.sequence, 1] += 1
                elif isinstance(event, ActivityRetried):
                    expected_tasks[decision.run_id, event.sequence, event.attempt] += 1
                elif type(event) in CLOSING and not is_followed(event):
                    expected_ends[decision.run_id] += 1
        tasks = Counter((task.run_id, task.sequence, task.attempt) for task in found)
        if tasks != expected_tasks:
            raise Violation("T (transaction)", f"tasks {dict(tasks)} beside decisions for {dict(expected_tasks)}")
        repeated = self._tasks & tasks.keys()
        if repeated:
            raise Violation("R (results)", f"tasks were sent again: {sorted(repeated)}")
        self._tasks.update(tasks)
        ends: Counter[str] = Counter()
        for entry in by_topic.get(self._topics.completions, ()):
            end = decode(entry.value or b"")
            assert isinstance(end, WorkflowClosed)
            ends[end.run_id] += 1
            self.ends[end.run_id] = end
        if ends != expected_ends:
            raise Violation("T (transaction)", f"completions {dict(ends)} beside decisions for {dict(expected_ends)}")
        self.completions.update(ends)

    def _check_inputs(
        self, transaction: Transaction, before: Mapping[TopicPartition, int], decisions: Decisions, letters: list[Any],
        commands: list[Any],
    ) -> int:  # fmt: skip
        """Check that the transaction handled every input between its offsets before and after, and no other.

        Returns their number."""
        expected: set[Place] = set()
        self._queries = {}
        for where, offset in transaction.offsets.items():
            if offset < before[where]:
                raise Violation("O (offsets)", f"{where} went back from {before[where]} to {offset}")
            for entry in self._broker.partition(where).entries[before[where] : offset]:
                if entry.is_committed:
                    expected.add((*where, entry.offset))
                    if is_query(entry):
                        self._queries[(*where, entry.offset)] = entry
        triggered: dict[Place, set[int]] = {}
        for decision, _ in decisions:
            trigger = decision.trigger
            if trigger.topic:
                place = place_of(trigger, self._topics)
                triggered.setdefault(place, set()).add(decision.decision)
        given_up = {
            (self._topics.commands, decision.shard, event.offset)
            for decision, events in decisions
            for event in events
            if isinstance(event, CommandGivenUp)
        }
        places = [(letter.topic, letter.partition, letter.offset) for letter in letters]
        dead = Counter(place for place in places if place not in given_up)
        forwarded: Counter[Place] = Counter()
        for command in commands:
            if command.origin and command.origin.startswith(self._topics.commands):
                topic, partition, offset = command.origin.rsplit("/", 2)
                forwarded[topic, int(partition), int(offset)] += 1
        self._compare(expected, triggered, dead, forwarded)
        return len(expected)

    def _compare(
        self, expected: set[Place], triggered: Mapping[Place, set[int]], dead: Counter[Place], forwarded: Counter[Place]
    ) -> None:
        if triggered.keys() & self._queries.keys():
            raise Violation("Q (queries)", f"queries left events: {triggered.keys() & self._queries.keys()}")
        for place in dead.keys() | forwarded.keys():
            self._queries.pop(place, None)
        expected = expected - self._queries.keys()
        handled = triggered.keys() | dead.keys() | forwarded.keys()
        if handled != expected:
            raise Violation(
                "O (offsets)",
                f"a transaction moved past {sorted(expected - handled)} without handling them"
                if expected - handled
                else f"a transaction handled {sorted(handled - expected)}, which its offsets do not cover",
            )
        for place in handled:
            times = len(triggered.get(place, ()))
            if (times > 1 and times > 1 + self._hands_update(place)) or dead[place] > 1 or forwarded[place] > 1:
                raise Violation("O (offsets)", f"{place} was handled more than once in one transaction")
            if forwarded[place] and (place in triggered or dead[place]):
                raise Violation("O (offsets)", f"{place} was forwarded and decided as well")
            if place in self._triggers:
                raise Violation("O (offsets)", f"{place} took effect before")
            self._triggers[place] = self.transactions

    def _hands_update(self, place: Place) -> bool:
        """Whether an input is a start with an update, which is decided after the start."""
        if place[0] != self._topics.commands:
            return False
        value = self._broker.partition(place[:2]).entries[place[2]].value or b""
        try:
            command = decode_command(value)
        except Undecodable:
            return False
        return isinstance(command, StartWorkflow) and bool(command.update)

    def _follow_queries(self, number: int, written_ms: int, decisions: Decisions, replies: Sequence[Entry]) -> None:
        asked = [
            (offset, decode_command(entry.value or b""), entry.at_ms)
            for (_, partition, offset), entry in self._queries.items()
            if partition == number
        ]
        answers: dict[str, list[Any]] = {}
        for reply in [decode(entry.value or b"") for entry in replies] if asked else ():
            answers.setdefault(reply.message_id, []).append(reply)
        self.reads[number].follow(asked, [decision for decision, _ in decisions], answers, written_ms)

    def _keep(
        self,
        transaction: Transaction,
        before: Mapping[TopicPartition, int],
        by_topic: Mapping[str, list[Entry]],
        letters: list[Any],
        rows: Mapping[int, ShardRow],
    ) -> None:
        """Keep what each shard decided, for redecide.py."""
        build, owner = self.owner_of(transaction)
        for number, row in rows.items():
            inputs = {
                (*where, entry.offset): entry.stored()
                for where, offset in transaction.offsets.items()
                if where[1] == number
                for entry in self._broker.partition(where).entries[before[where] : offset]
                if entry.is_committed
            }
            events = by_topic.get(self._topics.events, ())
            recorded = [entry.value or b"" for entry in events if entry.where[1] == number]
            refused = [letter for letter in letters if letter.reason == "engine_error"]
            places = frozenset((letter.topic, letter.partition, letter.offset) for letter in refused)
            changelog = by_topic.get(self._topics.state_changelog, ())
            written = {entry.key or b"": entry.value for entry in changelog if entry.where[1] == number}
            batch = Batch(row.now_ms, inputs, recorded, places, build, owner, written)
            self.batches.setdefault(number, []).append(batch)

    def _check_rows(
        self, number: int, row: ShardRow, decisions: Decisions, events: list[Entry], changelog: list[Entry]
    ) -> None:
        """Check that the rows written are those that `evolve` makes of the decisions; expiry may delete more."""
        fold, retention = self._folds[number], self.retention[number]
        expected: dict[bytes, bytes | None] = {}
        own = [entry for entry in events if entry.where[1] == number]
        for entry, (decision, found) in zip(own, decisions, strict=True):
            writes = fold.apply(entry.value or b"")
            expected.update(writes)
            retention.follow(decision, found)
            if any(isinstance(event, WorkflowDeleted) for event in found):
                problem = self.judge_deletion(decision, writes, fold.rows, self.deletions.get(decision.workflow_id, ()))
                if problem:
                    raise Violation("X (deletion)", problem)
        written = {
            entry.key or b"": entry.value for entry in changelog if entry.where[1] == number and entry.key != SHARD_KEY
        }
        gone = {key for key, value in expected.items() if value is None}  # a run that continues keeps no history
        expired = {key for key, value in written.items() if value is None and key[:1] in EXPIRING} - gone
        deleted = {key: fold.rows.get(key) for key in expired}
        fold.write(dict.fromkeys(expired))  # also what this layer wrote first: the start of a run that is replaced
        differing = [
            key
            for key in expected.keys() | written.keys()
            if expected.get(key) != written.get(key) and key not in expired
        ]
        if differing:
            raise Violation("E (evolve)", f"shard {number} wrote rows that its events do not imply: {differing}")
        retention.check(deleted, fold.rows, max((entry.at_ms for entry in changelog), default=0), row.log_ms)

    def _check_offsets(self, transaction: Transaction, changelog: list[Entry]) -> Mapping[int, ShardRow]:
        """Check that the offsets in the shards' own rows are the group's."""
        rows = {entry.where[1]: unpack_shard(entry.value or b"") for entry in changelog if entry.key == SHARD_KEY}
        for (topic, number), offset in transaction.offsets.items():
            if number not in rows:
                raise Violation("T (transaction)", f"offsets of shard {number} came without its row")
            if rows[number].offsets.get(topic, 0) != offset:
                raise Violation(
                    "T (transaction)", f"shard {number} has offsets {rows[number].offsets}, the group {offset}"
                )
        return rows

    # The topic `events`.

    def look(self) -> None:
        """Read and check the visible records of `events`."""
        for shard in range(self._shards):
            partition = self._broker.partition((self._topics.events, shard))
            records, self._read[shard] = partition.committed(self._read[shard], 1_000_000)
            for record in records:
                decision = decode(record.value or b"")
                assert isinstance(decision, DecisionRecorded)
                self._follow(shard, decision)

    def _follow(self, shard: int, decision: DecisionRecorded) -> None:
        is_numbered = decision.first_sequence > 0  # a result of an unknown run is ignored on any shard
        if decision.shard != shard or (is_numbered and partition_of(decision.workflow_id, self._shards) != shard):
            raise Violation("H (history)", f"shard {shard} decides {decision.workflow_id}, which is not its own")
        last, events = self._last.get(shard), [decode(data) for data in decision.events]
        is_same = last is not None and last.decision == decision.decision and _belongs_to(last, decision, events)
        if decision.decision != self._decisions[shard] + (not is_same):
            raise Violation(
                "H (history)", f"shard {shard} numbers a decision {decision.decision} after {self._decisions[shard]}"
            )
        if decision.now_ms < self._now_ms[shard]:
            raise Violation("C (timers)", f"shard {shard}'s clock went back {self._now_ms[shard] - decision.now_ms} ms")
        self._decisions[shard], self._now_ms[shard], self._last[shard] = decision.decision, decision.now_ms, decision
        if decision.first_sequence == 0:
            if not all(isinstance(event, UNNUMBERED) for event in events):
                raise Violation("H (history)", f"{decision.workflow_id} has events without numbers: {events}")
            if any(type(event) in OF_SCHEDULES for event in events):
                self.schedules.setdefault(decision.workflow_id, []).append((decision.now_ms, events))
            self.awaited.update(
                {event.message_id: (decision.run_id, event) for event in events if isinstance(event, ResultAwaited)}
            )
            for event in events:
                if isinstance(event, REPORTS):
                    self._run_of(decision).report(event, decision.now_ms)
                if isinstance(event, WorkflowDeleted):
                    self._delete(decision)
                if isinstance(event, WorkflowImported):
                    self._import(decision, event)
            return
        self._extend(decision, events)
        self._check_details(decision, events)

    def _delete(self, decision: DecisionRecorded) -> None:
        """Note that the runs of an id are deleted, of which none may be open."""
        for run in self.runs[decision.workflow_id]:
            if not run.is_closed:
                raise Violation("X (deletion)", f"{run} was deleted while it was {run.status}")
            run.is_deleted = True
        self.deletions.setdefault(decision.workflow_id, []).append(decision.trigger.message_id)

    def _import(self, decision: DecisionRecorded, event: WorkflowImported) -> None:
        """Note that the last run of an id is back, which was deleted before."""
        run = self.runs[decision.workflow_id][-1]
        if not run.is_deleted or run.run_id != event.run_id:
            raise Violation("X (deletion)", f"{event.run_id} of {decision.workflow_id} was imported over {run}")
        run.is_deleted, run.is_imported = False, True

    def _run_of(self, decision: DecisionRecorded) -> Run:
        """The run of a decision that begins none."""
        return next(run for run in self.runs[decision.workflow_id] if run.run_id == decision.run_id)

    def _check_details(self, decision: DecisionRecorded, events: list[Any]) -> None:
        """Check that each attempt got the details of the last heartbeat of those before it."""
        for event in events:
            if isinstance(event, ActivityRetried):
                expected = self._run_of(decision).activities[event.sequence].details
                given = self._details.pop((decision.run_id, event.sequence, event.attempt), expected)
                if given != expected:
                    raise Violation("R (results)", f"{event} of {decision.workflow_id} got {given!r}, not {expected!r}")

    def _extend(self, decision: DecisionRecorded, events: list[Any]) -> None:
        runs = self.runs.setdefault(decision.workflow_id, [])
        forked = next((event for event in events[:2] if isinstance(event, WorkflowForked)), None)
        if forked is not None:
            _check_fork(runs, decision)
            base = next((run for run in runs if run.run_id == forked.base_run_id), None)
            if base is None:
                raise Violation("M (by hand)", f"{forked} of {decision.workflow_id} goes on from no run")
            runs.append(Run.forked(base, decision, forked))
        elif isinstance(events[0], WorkflowStarted) and decision.first_sequence == 1:
            if any(run.run_id == decision.run_id for run in runs):
                raise Violation("A (once)", f"run {decision.run_id} of {decision.workflow_id} was started twice")
            if runs and not runs[-1].is_closed:
                raise Violation("H (history)", f"{decision.workflow_id} was started while {runs[-1]} is open")
            _check_replacement(runs, decision)
            _check_chain(runs, decision, events[0])
            runs.append(Run(decision.workflow_id, decision.run_id, events[0]))
        if not runs or runs[-1].run_id != decision.run_id:
            raise Violation(
                "H (history)",
                f"{decision.workflow_id} continues in run {decision.run_id}, not in its present one",
            )
        runs[-1].take(decision, events)
        started = events[0]
        if isinstance(started, WorkflowStarted) and started.reply_to >= 0:
            awaited = ResultAwaited(
                message_id=started.message_id, reply_to=started.reply_to, until_ms=started.awaited_until_ms
            )
            self.awaited[started.message_id] = (decision.run_id, awaited)


def _belongs_to(last: DecisionRecorded, decision: DecisionRecorded, events: list[Any]) -> bool:
    """Whether two records under one number are one decision: of one run, or of one and its successor."""
    if last.run_id == decision.run_id:
        return True
    ended, started = decode(last.events[-1]), events[0]
    if isinstance(ended, WorkflowReset):
        return ended.next_run_id == decision.run_id
    if last.workflow_id != decision.workflow_id or not isinstance(started, WorkflowStarted):
        return False
    if is_followed(ended):
        return bool(started.previous_run_id == last.run_id)
    return isinstance(ended, WorkflowTerminated) and ended.reason == f"replaced by run {decision.run_id}"


def _check_fork(runs: list[Run], decision: DecisionRecorded) -> None:
    """Check that a run goes on in the place of one that has closed, in this decision if it was reset."""
    last = runs[-1] if runs else None
    if last is None or not last.is_closed or any(run.run_id == decision.run_id for run in runs):
        raise Violation("M (by hand)", f"{decision.workflow_id} goes on in {decision.run_id} beside {last}")
    ended = last.events[-1]
    if last.is_followed and getattr(ended, "next_run_id", "") != decision.run_id:
        raise Violation("M (by hand)", f"{last} ended with {ended}, and {decision.run_id} goes on")
    if isinstance(ended, WorkflowReset) and last.records[-1].decision != decision.decision:
        raise Violation("M (by hand)", f"{last} was reset in another decision than that of {decision.run_id}")


def _check_replacement(runs: list[Run], decision: DecisionRecorded) -> None:
    """Check that a run that was replaced ended in the decision that started the next one."""
    ended = runs[-1].events[-1] if runs else None
    if not isinstance(ended, WorkflowTerminated) or not ended.reason.startswith("replaced by run"):
        return
    if ended.reason != f"replaced by run {decision.run_id}" or runs[-1].records[-1].decision != decision.decision:
        raise Violation("H (history)", f"{runs[-1]} was {ended.reason}, not in the decision that started {decision}")


def _check_chain(runs: list[Run], decision: DecisionRecorded, started: WorkflowStarted) -> None:
    """Check that a run that is to be followed ended in the decision that started the next one, and no other run did."""
    last = runs[-1] if runs else None
    if last is not None and last.is_followed:
        is_next = started.previous_run_id == last.run_id and last.records[-1].decision == decision.decision
    else:
        is_next = not started.previous_run_id
    if not is_next:
        raise Violation("K (chains)", f"{decision.workflow_id} has the run {decision.run_id} after {last}")
