"""An archive of closed runs: a program of its own that follows `events` and keeps each history in a SQLite file.

python examples/archive.py archive.sqlite3 kafka://localhost:9092
python examples/archive.py archive.sqlite3 --print > runs.jsonl

A history is written in the SQLite transaction that also writes the offset up to which the file has read, so that each
is there once, wherever the program is stopped. The file keeps what processors delete when `closed_kept` is over; its
lines are read by `penstock replay MODULE runs.jsonl`.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from penstock.engine.runtime.reads import plain
from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import Fenced
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.reset import WorkflowForked
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from penstock.topics.log import CommittedOffset, Log, Member, StoredRecord, TopicPartition

RECORDS_MAX = 1_000
WAIT_S = 1.0
CLOSING = frozenset(
    {
        *("WorkflowCompleted", "WorkflowFailed", "WorkflowTimedOut", "HistoryExceeded"),
        *("WorkflowCancelled", "WorkflowTerminated", "WorkflowContinued", "WorkflowReset"),
    }
)
TABLES = """
CREATE TABLE IF NOT EXISTS open (workflow_id TEXT, run_id TEXT, number INTEGER, events TEXT,
    PRIMARY KEY (workflow_id, run_id, number));
CREATE TABLE IF NOT EXISTS closed (workflow_id TEXT, run_id TEXT, closing TEXT, closed_ms INTEGER, events TEXT,
    PRIMARY KEY (workflow_id, run_id, closed_ms));
CREATE TABLE IF NOT EXISTS offsets (topic TEXT, number INTEGER, next INTEGER, PRIMARY KEY (topic, number));
"""

Events = list[dict[str, Any]]


class Archive:
    """Consumer of `events` in a group of its own. Used by one thread.

    A new file starts at the beginning of the topic; several programs share the partitions only if they share the file.
    """

    def __init__(self, log: Log, topics: Topics, file: Path) -> None:
        topic = log.describe([topics.events])[topics.events]
        partitions = [(topics.events, number) for number in range(topic.partitions)]
        self._connection = sqlite3.connect(file, isolation_level=None)
        self._connection.executescript(TABLES)
        self._connection.executemany(
            "INSERT OR IGNORE INTO offsets VALUES (?, ?, ?)",
            [(*where, first) for where, (first, _) in log.ends(partitions).items()],
        )
        self._member: Member = log.join(f"{topics.prefix}.{topics.namespace}.archive", [topics.events], self)

    def granted(self, partitions: Sequence[TopicPartition]) -> None:
        """Continue from the offsets in the file; those of the group only show the progress."""
        offsets = self.offsets()
        self._member.start({where: offsets[where] for where in partitions})

    def released(self, partitions: Sequence[TopicPartition], *, lost: bool) -> None:
        """Do nothing: what was read is in the file."""

    def take(self, timeout_s: float = WAIT_S) -> int:
        """Read what has happened, waiting up to `timeout_s` for the first record; returns how many there were."""
        records = self._member.poll(RECORDS_MAX, timeout_s)
        if records:
            nexts = self._write(records)
            with contextlib.suppress(Fenced):  # another program has the partition now, and goes on with the file
                self._member.commit({where: CommittedOffset(offset) for where, offset in nexts.items()})
        return len(records)

    def offsets(self) -> dict[TopicPartition, int]:
        """Return the next offset of each partition."""
        rows = self._connection.execute("SELECT topic, number, next FROM offsets")
        return {(topic, number): next_ for topic, number, next_ in rows}

    def lines(self) -> Iterator[str]:
        """Return each closed run as one line of JSON, in the order in which they closed."""
        rows = self._connection.execute("SELECT workflow_id, run_id, events FROM closed ORDER BY closed_ms, rowid")
        for workflow_id, run_id, events in rows:
            run = {"workflow_id": workflow_id, "run_id": run_id, "events": msgspec.Raw(events.encode())}
            yield msgspec.json.encode(run).decode()

    def close(self) -> None:
        """Leave the group and close the file."""
        self._member.close()
        self._connection.close()

    def _write(self, records: Sequence[StoredRecord]) -> dict[TopicPartition, int]:
        """Keep what the records say, and the offsets behind them, in one transaction of the file."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            nexts = self.offsets()
            for record in records:
                where = (record.topic, record.partition)
                if record.offset >= nexts[where]:  # otherwise it is known from an earlier owner of the partition
                    self._keep(decode(record.value or b""))
                    nexts[where] = record.offset + 1
            self._connection.executemany(
                "UPDATE offsets SET next = ? WHERE topic = ? AND number = ?",
                [(next_, *where) for where, next_ in nexts.items()],
            )
        return nexts

    def _keep(self, decision: DecisionRecorded) -> None:
        if not decision.first_sequence:  # nothing of a history, such as an input without effect
            return
        run = (decision.workflow_id, decision.run_id)
        first, events = decode(decision.events[0]), _events(decision)
        if isinstance(first, WorkflowForked):  # a run that was reset has the history of another one up to there
            events = [*self._until(decision.workflow_id, first), *events]
        row = (*run, decision.first_sequence, msgspec.json.encode(events).decode())
        self._connection.execute("INSERT INTO open VALUES (?, ?, ?, ?)", row)
        closing = events[-1]["event"]
        if closing in CLOSING:
            history = self._history(*run)
            kept = (*run, closing, decision.now_ms, msgspec.json.encode(history).decode())
            self._connection.execute("INSERT INTO closed VALUES (?, ?, ?, ?, ?)", kept)
            self._connection.execute("DELETE FROM open WHERE workflow_id = ? AND run_id = ?", run)

    def _history(self, workflow_id: str, run_id: str) -> Events:
        query = "SELECT events FROM open WHERE workflow_id = ? AND run_id = ? ORDER BY number"
        rows = self._connection.execute(query, (workflow_id, run_id))
        return [event for (events,) in rows for event in msgspec.json.decode(events)]

    def _until(self, workflow_id: str, forked: WorkflowForked) -> Events:
        query = "SELECT events FROM closed WHERE workflow_id = ? AND run_id = ? ORDER BY closed_ms DESC LIMIT 1"
        found = self._connection.execute(query, (workflow_id, forked.base_run_id)).fetchone()
        events: Events = msgspec.json.decode(found[0]) if found is not None else []
        return [event for event in events if event["number"] <= forked.to_event]


def _events(decision: DecisionRecorded) -> Events:
    """The events of a decision as `penstock history --output json` prints them."""
    at = {"at_ms": decision.now_ms, "decision": decision.decision}
    return [
        {"number": number, "event": type(event).__name__, **at, **plain(event)}
        for number, event in enumerate(map(decode, decision.events), decision.first_sequence)
    ]


def main() -> None:
    """Follow the log until the program is interrupted, or print what the file has."""
    file, url = Path(sys.argv[1]), next((word for word in sys.argv[2:] if ":" in word), "embedded:.penstock")
    log = connect(url)
    archive = Archive(log, Topics(), file)
    try:
        if "--print" in sys.argv:
            while archive.take():
                continue
            print(*archive.lines(), sep="\n")
            return
        while True:
            archive.take()
    except KeyboardInterrupt:
        return
    finally:
        archive.close()
        log.close()


if __name__ == "__main__":
    main()
