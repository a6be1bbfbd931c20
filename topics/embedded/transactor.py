"""Transactions of the embedded log: kept in memory until commit, then written as one SQL transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from penstock.schemas.errors import Fenced, LogUnavailable, TransactionAborted
from penstock.topics.embedded.database import Database
from penstock.topics.embedded.group import Claim, EmbeddedMember
from penstock.topics.embedded.records import Catalogue, append
from penstock.topics.log import CommittedOffset, Member, Record, TopicPartition


class EmbeddedTransactor:
    """`Transactor` of the log's contract.

    An open transaction exists in memory only, so an earlier holder of the id leaves nothing behind; a higher epoch
    fences it."""

    def __init__(self, database: Database, catalogue: Catalogue, transactional_id: str) -> None:
        self._database = database
        self._catalogue = catalogue
        self._id = transactional_id
        self._epoch = 0
        self._open = False
        self._clear()

    def recover(self, timeout_s: float) -> None:  # noqa: ARG002 - there is no open transaction to wait for
        """Fence earlier holders of this transactional id. Raises LogUnavailable."""
        with self._database.write() as connection:
            row = connection.execute(
                "INSERT INTO transactors VALUES (?, 1) ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
                (self._id,),
            ).fetchone()
            epoch = int(row[0])
        self._epoch = epoch
        self._clear()

    def begin(self) -> None:
        """Begin a transaction, in memory."""
        assert self._epoch, "recover must be called before begin"
        assert not self._open, "the previous transaction was neither committed nor aborted"
        self._open = True

    def produce(self, records: Sequence[Record], track: frozenset[TopicPartition] = frozenset()) -> None:
        """Add records. `commit` returns the end offsets of the partitions in `track`.

        Raises RecordTooLarge, UnknownTopic, LogUnavailable."""
        assert self._open, "begin must be called before produce"
        self._catalogue.require_accepted(records)
        self._records += records
        self._tracked |= track

    def offsets(self, offsets: Mapping[TopicPartition, CommittedOffset], member: Member) -> None:
        """Add next offsets, fenced by the member's current grants. Raises Fenced."""
        assert self._open, "begin must be called before offsets"
        assert offsets, "a transaction without offsets is not fenced"
        assert isinstance(member, EmbeddedMember), "the member belongs to another log"
        claim = member.claim(offsets)
        with self._database.read() as connection:
            claim.verify(connection)
        self._claims.append((claim, dict(offsets)))

    def commit(self) -> Mapping[TopicPartition, int]:
        """Write the transaction; returns offset + 1 of the last record for each tracked partition that got one.

        Raises Fenced, TransactionAborted (the file stayed busy), OutcomeUnknown (the disk failed during the commit)."""
        assert self._open, "begin must be called before commit"
        try:
            with self._database.write() as connection:
                self._require_epoch(connection)
                for claim, offsets in self._claims:
                    claim.verify(connection)
                    claim.store(connection, offsets)
                ends = append(connection, self._records)
        except LogUnavailable as error:
            raise TransactionAborted(f"nothing was written: {error}") from error
        landed = {where: end for where, end in ends.items() if where in self._tracked}
        self._clear()
        return landed

    def abort(self) -> None:
        """Discard the transaction."""
        self._clear()

    def close(self) -> None:
        """Discard the open transaction, if any."""
        self._clear()

    def _require_epoch(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT epoch FROM transactors WHERE id = ?", (self._id,)).fetchone()
        if row is None or row[0] != self._epoch:
            raise Fenced(f"a newer holder of the transactional id {self._id} has taken over")

    def _clear(self) -> None:
        self._open = False
        self._records: list[Record] = []
        self._tracked: frozenset[TopicPartition] = frozenset()
        self._claims: list[tuple[Claim, dict[TopicPartition, CommittedOffset]]] = []
