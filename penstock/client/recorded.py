"""Recorded runs: decisions of one run in order, from the topic `events`, from a history, or from a file of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from penstock.client.run import CLOSING_EVENTS
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.encoding.json_event import event_of
from penstock.schemas.errors import BadInput, Undecodable, UnknownTopic
from penstock.schemas.records.decisions import DecisionRecorded, Trigger
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.reset import WorkflowForked
from penstock.schemas.records.retention import WorkflowImported
from penstock.schemas.records.run import WorkflowStarted
from penstock.topics.catalogue import Topics, creation_advice
from penstock.topics.log import Log
from penstock.topics.partitioner import partition_of

READ_TIMEOUT_S = 60.0
CLOSINGS = CLOSING_EVENTS | {"WorkflowContinued", "WorkflowReset"}
FILE_SUFFIXES = (".json", ".jsonl")


_Histories = dict[tuple[str, str], list[DecisionRecorded]]


class RecordedRun(NamedTuple):
    """A run as it was recorded. `closing`: name of its last event, empty while it is open."""

    workflow_id: str
    run_id: str
    records: list[DecisionRecorded]
    closing: str = ""

    @property
    def started(self) -> WorkflowStarted | None:
        """Its first event; None if the beginning of its history is no longer there."""
        first: Event = decode(self.records[0].events[0])
        return first if isinstance(first, WorkflowStarted) else None


def runs_in_log(log: Log, topics: Topics, workflow_id: str = "") -> Iterator[RecordedRun]:
    """The runs on the topic `events`, or those of one id: closed ones as they end, then the open ones of a partition.

    Those that were reset come last, with the history that they share with their base.

    Raises UnknownTopic, LogError, UnknownSchema (a newer program wrote a record)."""
    found = log.describe([topics.events])
    if topics.events not in found:
        raise UnknownTopic(f"the topic {topics.events} does not exist: {creation_advice()} first.")
    partitions = found[topics.events].partitions
    for partition in [partition_of(workflow_id, partitions)] if workflow_id else range(partitions):
        yield from _runs_of(log, topics.events, partition, workflow_id)


def run_of_history(workflow_id: str, run_id: str, events: Sequence[Mapping[str, Any]]) -> RecordedRun:
    """A run from its numbered events, as `Run.history` returns them. Raises Undecodable, BadInput (no event)."""
    if not events:
        raise BadInput(f"the history of {workflow_id} has no event.")
    records: list[DecisionRecorded] = []
    last: Event | None = None
    for (decision, at_ms), grouped in groupby(events, key=lambda event: (event.get("decision", 0), event["at_ms"])):
        together = list(grouped)
        decided = [event_of(event) for event in together]
        last = decided[-1]
        records.append(
            DecisionRecorded(
                workflow_id=workflow_id,
                run_id=run_id,
                shard=0,
                decision=decision or len(records) + 1,
                now_ms=at_ms,
                trigger=Trigger(),
                first_sequence=together[0]["number"],
                events=tuple(map(encode, decided)),
            )
        )
    return RecordedRun(workflow_id, run_id, records, _closing(last))


def _closing(last: Event | None) -> str:
    """The name of an event that ends a run; empty for another one."""
    name = type(last).__name__
    return name if name in CLOSINGS else ""


def runs_in_file(path: Path) -> list[RecordedRun]:
    """The runs of a file: the output of `penstock history ID --output json`, or objects of `workflow_id`, `run_id` and
    `events`, one a line. The id of a bare history is the file's name. Raises BadInput."""
    try:
        data = path.read_bytes()
        given = (
            [msgspec.json.decode(line) for line in data.splitlines() if line.strip()]
            if _is_lines(path, data)
            else ([msgspec.json.decode(data)])
        )
        return [_run_of_json(path, one) for one in given]
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, Undecodable) as error:
        raise BadInput(
            f"{path} is no history ({error}): write it with `penstock history ID --output json > ID.json`."
        ) from error


def _is_lines(path: Path, data: bytes) -> bool:
    return path.suffix == ".jsonl" and not data.lstrip().startswith(b"[")


def _run_of_json(path: Path, given: Any) -> RecordedRun:
    if isinstance(given, list):
        return run_of_history(path.stem, "", given)
    return run_of_history(given["workflow_id"], given.get("run_id", ""), given["events"])


class _Forks:
    """Runs of a partition that were reset: their own records lack the part of the history that they share."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str], RecordedRun] = {}
        self._bases: dict[tuple[str, str], WorkflowForked] = {}

    def note(self, run: RecordedRun) -> bool:
        """Keep a run if its history begins in another one; returns whether it does."""
        first = decode(run.records[0].events[0])
        if isinstance(first, WorkflowForked):
            key = run.workflow_id, run.run_id
            self.runs[key], self._bases[key] = run, first
        return isinstance(first, WorkflowForked)

    def completed(self, records: Iterable[DecisionRecorded]) -> Iterator[RecordedRun]:
        """The runs, each with its base's history up to the cut. `records`: all of the partition again, in order."""
        histories: _Histories = {(id, forked.base_run_id): [] for (id, _), forked in self._bases.items()}
        for record in records:
            key = record.workflow_id, record.run_id
            history = histories.get(key)
            if history is not None:
                history += [*([] if history else self._shared(key, histories)), record]
        for key, run in self.runs.items():
            yield run._replace(records=[*self._shared(key, histories), *run.records])

    def _shared(self, key: tuple[str, str], histories: _Histories) -> list[DecisionRecorded]:
        """What a run shares with its base; nothing for one that was not reset."""
        forked = self._bases.get(key)
        if forked is None:
            return []
        return [record for record in histories[key[0], forked.base_run_id] if record.first_sequence <= forked.to_event]


def _runs_of(log: Log, topic: str, partition: int, workflow_id: str) -> Iterator[RecordedRun]:
    open_runs: dict[tuple[str, str], RecordedRun] = {}
    forks = _Forks()
    for record in _numbered(log, topic, partition, workflow_id):
        key = (record.workflow_id, record.run_id)
        run = open_runs.setdefault(key, RecordedRun(*key, []))
        run.records.append(record)
        closing = _closing(decode(record.events[-1]))
        if closing:
            closed = open_runs.pop(key)._replace(closing=closing)
            if not forks.note(closed):
                yield closed
    yield from (run for run in open_runs.values() if not forks.note(run))
    if forks.runs:
        yield from forks.completed(_numbered(log, topic, partition, workflow_id))


def _numbered(log: Log, topic: str, partition: int, workflow_id: str) -> Iterator[DecisionRecorded]:
    """The records of histories, in order; not what happened besides, such as an ignored input."""
    first, _ = log.ends([(topic, partition)])[topic, partition]
    for batch in log.read_to_end(topic, partition, first, READ_TIMEOUT_S):
        for stored in batch:
            record = decode(stored.value or b"")
            if not isinstance(record, DecisionRecorded) or workflow_id not in {"", record.workflow_id}:
                continue
            if record.first_sequence:
                yield record
            else:
                yield from _imported(record)


def _imported(record: DecisionRecorded) -> Iterator[DecisionRecorded]:
    """The history of a run that was imported; nothing of another decision."""
    event = decode(record.events[0])
    if isinstance(event, WorkflowImported):
        yield from map(decode, event.records)
