"""Downstream program: reads `completions` and keeps totals in SQLite, counting each closed run exactly once.

The totals and the offset up to which they count are written in one SQLite transaction. After a stop at any point the
program continues from the offsets in the file; the group's offsets in the log only show its progress.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from examples.flights.workflow import DENIED, REBOOKED, STRANDED, Outcome
from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import Fenced
from penstock.schemas.records.completions import WorkflowClosed
from penstock.topics.catalogue import Topics
from penstock.topics.log import CommittedOffset, Log, Member, StoredRecord, TopicPartition

COLUMNS = (
    "flights",
    "cancelled",
    "rebooked",
    "stranded",
    "approved",
    "denied",
    "delay_min",
    "seats",
    "no_plane",
    "no_weather",
)
RECORDS_MAX = 1_000

Row = dict[str, int]
_outcome = msgspec.json.Decoder(Outcome)


class Downstream:
    """Consumer of `completions` in a group of its own. Used by one thread.

    Counts the runs whose workflow id begins with `run`, since the topic is shared. A new totals file starts at the
    current end of the topic.
    """

    def __init__(self, log: Log, topics: Topics, run: str, file: Path) -> None:
        topic = log.describe([topics.completions])[topics.completions]
        partitions = [(topics.completions, number) for number in range(topic.partitions)]
        self.totals = Totals(file, {where: end for where, (_, end) in log.ends(partitions).items()})
        self._run = f"{run}-"
        self._member: Member = log.join(f"{topics.prefix}.{topics.namespace}.totals.{run}", [topics.completions], self)

    def granted(self, partitions: Sequence[TopicPartition]) -> None:
        """Continue from the offsets in the totals file."""
        offsets = self.totals.offsets()
        self._member.start({where: offsets[where] for where in partitions})

    def released(self, partitions: Sequence[TopicPartition], *, lost: bool) -> None:
        """Do nothing, since totals are never held back."""

    def take(self, timeout_s: float) -> None:
        """Count the runs that have closed, waiting up to `timeout_s` for the first. Raises LogError."""
        records = self._member.poll(RECORDS_MAX, timeout_s)
        if not records:
            return
        nexts = self.totals.add(records, self._run)
        try:
            self._member.commit({where: CommittedOffset(offset) for where, offset in nexts.items()})
        except Fenced:  # another member owns the partition now and continues from the same file
            return

    def close(self) -> None:
        """Leave the group."""
        self._member.close()
        self.totals.close()


class Totals:
    """Totals file: totals by carrier, runs that did not complete, and the next offset of each partition."""

    def __init__(self, file: Path, offsets: Mapping[TopicPartition, int]) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None)
        columns = ", ".join(f"{column} INTEGER NOT NULL" for column in COLUMNS)
        self._connection.executescript(
            f"""
            CREATE TABLE IF NOT EXISTS totals (carrier TEXT PRIMARY KEY, airline TEXT NOT NULL, {columns});
            CREATE TABLE IF NOT EXISTS unfinished (workflow_id TEXT PRIMARY KEY, status TEXT, message TEXT);
            CREATE TABLE IF NOT EXISTS offsets (topic TEXT, number INTEGER, next INTEGER, PRIMARY KEY (topic, number));
            """
        )
        self._connection.executemany(
            "INSERT OR IGNORE INTO offsets VALUES (?, ?, ?)", [(*where, next_) for where, next_ in offsets.items()]
        )

    def add(self, records: Sequence[StoredRecord], run: str) -> dict[TopicPartition, int]:
        """Count the closed runs whose id begins with `run`. Returns the next offsets, written along with the totals."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            nexts = self.offsets()
            for record in records:
                where = (record.topic, record.partition)
                if record.offset < nexts[where]:  # counted by an earlier owner of the partition
                    continue
                closed = decode(record.value or b"")
                if isinstance(closed, WorkflowClosed) and closed.workflow_id.startswith(run):
                    self._count(closed)
                nexts[where] = record.offset + 1
            self._connection.executemany(
                "UPDATE offsets SET next = ? WHERE topic = ? AND number = ?",
                [(next_, *where) for where, next_ in nexts.items()],
            )
        return nexts

    def offsets(self) -> dict[TopicPartition, int]:
        """Return the next offset of each partition."""
        rows = self._connection.execute("SELECT topic, number, next FROM offsets")
        return {(topic, number): next_ for topic, number, next_ in rows}

    def closed(self) -> int:
        """Return the number of closed runs, completed or not."""
        query = "SELECT (SELECT coalesce(sum(flights), 0) FROM totals) + (SELECT count(*) FROM unfinished)"
        return int(self._connection.execute(query).fetchone()[0])

    def rows(self) -> dict[str, Row]:
        """Return the totals by carrier."""
        query = f"SELECT carrier, {', '.join(COLUMNS)} FROM totals ORDER BY carrier"  # noqa: S608 - constant names
        return {
            carrier: dict(zip(COLUMNS, counts, strict=True)) for carrier, *counts in self._connection.execute(query)
        }

    def airlines(self) -> dict[str, str]:
        """Return names by carrier, as the workflows found them."""
        return dict(self._connection.execute("SELECT carrier, airline FROM totals").fetchall())

    def unfinished(self) -> list[tuple[str, str, str]]:
        """Return id, status and message of runs that closed without completing."""
        return self._connection.execute("SELECT workflow_id, status, message FROM unfinished").fetchall()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _count(self, closed: WorkflowClosed) -> None:
        if closed.status != "completed":
            message = closed.failure.message if closed.failure else ""
            row = (closed.workflow_id, closed.status, message)
            self._connection.execute("INSERT INTO unfinished VALUES (?, ?, ?)", row)
            return
        outcome = _outcome.decode(closed.result)
        counts = counts_of(outcome)
        added = ", ".join(f"{column} = {column} + excluded.{column}" for column in COLUMNS)
        placeholders = ", ".join("?" * (len(COLUMNS) + 2))
        self._connection.execute(
            f"INSERT INTO totals VALUES ({placeholders}) ON CONFLICT DO UPDATE SET {added}",  # noqa: S608 - constant names
            (outcome.carrier, outcome.airline, *(counts[column] for column in COLUMNS)),
        )


def counts_of(outcome: Outcome) -> Row:
    """Return what one flight adds to each total."""
    return {
        "flights": 1,
        "cancelled": outcome.dep_delay is None,
        "rebooked": outcome.end == REBOOKED,
        "stranded": outcome.end == STRANDED,
        "approved": outcome.asked and outcome.end != DENIED,
        "denied": outcome.end == DENIED,
        "delay_min": outcome.dep_delay or 0,
        "seats": outcome.plane.seats if outcome.plane else 0,
        "no_plane": outcome.plane is None,
        "no_weather": outcome.weather is None,
    }
