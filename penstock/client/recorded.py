"""Recorded runs: decisions of one run in order, from the topic `events`, from a history, or from a file of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from penstock.schemas.records.run import WorkflowStarted
from penstock.topics.catalogue import Topics, creation_advice
from penstock.topics.log import Log
from penstock.topics.partitioner import partition_of

READ_TIMEOUT_S = 60.0
CLOSINGS = CLOSING_EVENTS | {"WorkflowContinued", "WorkflowReset"}
FILE_SUFFIXES = (".json", ".jsonl")


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


def _runs_of(log: Log, topic: str, partition: int, workflow_id: str) -> Iterator[RecordedRun]:
    first, _ = log.ends([(topic, partition)])[topic, partition]
    open_runs: dict[tuple[str, str], RecordedRun] = {}
    for batch in log.read_to_end(topic, partition, first, READ_TIMEOUT_S):
        for stored in batch:
            record = decode(stored.value or b"")
            if not isinstance(record, DecisionRecorded) or not record.first_sequence:
                continue  # what happened besides the history, such as an ignored input
            if workflow_id not in {"", record.workflow_id}:
                continue
            key = (record.workflow_id, record.run_id)
            run = open_runs.setdefault(key, RecordedRun(*key, []))
            run.records.append(record)
            closing = _closing(decode(record.events[-1]))
            if closing:
                yield open_runs.pop(key)._replace(closing=closing)
    yield from open_runs.values()
