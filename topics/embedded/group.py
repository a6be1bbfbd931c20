"""Consumer groups of the embedded log: rows of members with leases, and of grants with generations.

Each member computes the same shares from the same rows, releases partitions that are no longer in its share, and takes
those of its share that are free. A partition is free when its previous holder released it or was evicted: at once if
its process is known to be dead (presence.py), otherwise when its lease expires, as for a stopped process. An evicted
member is fenced, because each transaction checks the member's grants.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from penstock.schemas.errors import Fenced
from penstock.topics.embedded.database import Database
from penstock.topics.embedded.presence import Presence
from penstock.topics.embedded.records import Positions, ends
from penstock.topics.log import CommittedOffset, Listener, StoredRecord, TopicPartition

LEASE_MS = 3_000


class EmbeddedMember:
    """Member of a consumer group; `Member` of the log's contract."""

    def __init__(
        self, database: Database, presence: Presence, group: str, topics: Sequence[str], listener: Listener
    ) -> None:
        self._database, self._presence = database, presence
        self.group = group
        self._topics = sorted(topics)
        self._listener = listener
        self._generations: dict[TopicPartition, int] = {}
        self._positions = Positions()
        self._version_seen = -1
        self.closed = False
        self.id = self._enrol()

    def poll(self, records_max: int, timeout_s: float) -> list[StoredRecord]:
        """Up to `records_max` records, waiting at most `timeout_s` for the first. Calls the listener.

        Raises OffsetOutOfRange, LogUnavailable."""
        deadline = time.monotonic() + timeout_s
        changes = self._database.changes
        wakes = changes.wakes
        while True:
            seen = changes.count
            with self._database.read() as connection:
                version = _version(connection, self.group)
                records = self._positions.take(connection, records_max) if version == self._version_seen else []
            if version != self._version_seen:
                before = set(self._generations)
                self._rebalance(version)
                if set(self._generations) - before:
                    return []  # granted partitions must be started before there can be records to wait for
                continue
            remaining_s = deadline - time.monotonic()
            if records or remaining_s <= 0 or changes.wakes != wakes:
                return records
            changes.wait(seen, remaining_s)

    @property
    def name(self) -> str:
        """The member's id as text."""
        return str(self.id)

    @property
    def session_timeout_s(self) -> float:
        """How long a lease lasts."""
        return LEASE_MS / 1_000

    def start(self, positions: Mapping[TopicPartition, int]) -> None:
        """Deliver these granted partitions from these offsets on."""
        self._require_held(positions)
        self._positions.start(positions)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Deliver nothing from these partitions until `resume`."""
        self._positions.pause(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Continue delivery where `pause` stopped it."""
        self._positions.resume(partitions)

    def committed(
        self,
        partitions: Sequence[TopicPartition],
        timeout_s: float,  # noqa: ARG002 - offsets are never pending here
    ) -> Mapping[TopicPartition, CommittedOffset]:
        """The group's committed offsets, without partitions that have none."""
        found: dict[TopicPartition, CommittedOffset] = {}
        query = "SELECT next, metadata FROM offsets WHERE consumer_group = ? AND topic = ? AND number = ?"
        with self._database.read() as connection:
            for where in partitions:
                row = connection.execute(query, (self.group, *where)).fetchone()
                if row is not None:
                    found[where] = CommittedOffset(*row)
        return found

    def commit(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Commit outside of transactions. Raises Fenced, LogUnavailable."""
        claim = self.claim(offsets)
        with self._database.write() as connection:
            claim.verify(connection)
            claim.store(connection, offsets)

    def close(self) -> None:
        """Call `released`, then leave the group at once."""
        if self.closed:
            return
        with self._database.read() as connection:
            evicted = self.id not in _members(connection, self.group)
        try:
            self._release(sorted(self._generations), lost=evicted)
        finally:
            self.leave()

    def leave(self) -> None:
        """Leave without calling the listener, because the log is being closed."""
        if self.closed:
            return
        self.closed = True
        try:
            with self._database.write() as connection:
                evict(connection, self.group, [self.id])
                self._presence.withdraw(self.id)
        finally:
            self._presence.release(self.id)

    def claim(self, partitions: Iterable[TopicPartition]) -> Claim:
        """A claim to these partitions, by which a transaction is fenced. Raises Fenced."""
        self._require_held(partitions)
        return Claim(self.group, self.id, {where: self._generations[where] for where in partitions})

    def _require_held(self, partitions: Iterable[TopicPartition]) -> None:
        for topic, number in partitions:
            if (topic, number) not in self._generations:
                raise Fenced(f"{topic}[{number}] is not granted to this member of group {self.group}")

    def _enrol(self) -> int:
        """Add a member with a new id, and evict dead members of the group."""
        with self._database.write() as connection:
            for topic in self._topics:
                ends(connection, (topic, 0))
            dead = [member for member in _members(connection, self.group) if self._presence.is_gone(member)]
            evict(connection, self.group, dead)
            cursor = connection.execute(
                "INSERT INTO members (consumer_group, topics, lease_until_ms) VALUES (?, ?, ?)",
                (self.group, json.dumps(self._topics), monotonic_ms() + LEASE_MS),
            )
            _bump(connection, self.group)
            assert cursor.lastrowid is not None
            self._presence.announce(cursor.lastrowid)  # before the row becomes visible
            self._presence.sweep({member for (member,) in connection.execute("SELECT id FROM members")})
            return cursor.lastrowid

    def _rebalance(self, version: int) -> None:
        """Release partitions outside of this member's share and take free ones inside; repeated for each version."""
        with self._database.read() as connection:
            evicted = self.id not in _members(connection, self.group)
            share = set() if evicted else _share(connection, self.group, self.id)
        if evicted:
            self._release(sorted(self._generations), lost=True)
            self._presence.release(self.id)
            self.id = self._enrol()
            return
        self._return_grants(sorted(set(self._generations) - share))
        if share - set(self._generations):
            self._take_free()
        self._version_seen = version

    def _return_grants(self, partitions: Sequence[TopicPartition]) -> None:
        if not partitions:
            return
        try:
            self._release(partitions, lost=False)
        finally:
            # Also if the listener raised: a partition must not stay granted to a member that does not process it.
            with self._database.write() as connection:
                connection.executemany(
                    "DELETE FROM grants WHERE consumer_group = ? AND topic = ? AND number = ? AND member = ?",
                    [(self.group, topic, number, self.id) for topic, number in partitions],
                )
                _bump(connection, self.group)

    def _release(self, partitions: Sequence[TopicPartition], *, lost: bool) -> None:
        self._positions.forget(partitions)
        try:
            if partitions:
                self._listener.released(partitions, lost=lost)
        finally:
            for where in partitions:
                self._generations.pop(where, None)

    def _take_free(self) -> None:
        with self._database.write() as connection:
            if self.id not in _members(connection, self.group):
                return
            granted = _granted(connection, self.group)
            mine = sorted(_share(connection, self.group, self.id) - granted)
            if not mine:
                return
            generation = _bump(connection, self.group)
            connection.executemany(
                "INSERT INTO grants VALUES (?, ?, ?, ?, ?)",
                [(self.group, topic, number, self.id, generation) for topic, number in mine],
            )
        self._generations.update(dict.fromkeys(mine, generation))
        self._listener.granted(mine)


class Claim:
    """A member's grants of some partitions, verified inside the transaction that depends on them."""

    def __init__(self, group: str, member: int, generations: Mapping[TopicPartition, int]) -> None:
        self._group = group
        self._member = member
        self._generations = generations

    def verify(self, connection: sqlite3.Connection) -> None:
        """Raise Fenced unless all grants are unchanged."""
        query = "SELECT member, generation FROM grants WHERE consumer_group = ? AND topic = ? AND number = ?"
        for (topic, number), generation in self._generations.items():
            if connection.execute(query, (self._group, topic, number)).fetchone() != (self._member, generation):
                raise Fenced(f"{topic}[{number}] of group {self._group} was taken over by another member")

    def store(self, connection: sqlite3.Connection, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Write the group's offsets."""
        connection.executemany(
            "INSERT OR REPLACE INTO offsets VALUES (?, ?, ?, ?, ?)",
            [(self._group, *where, committed.offset, committed.metadata) for where, committed in offsets.items()],
        )


def range_share(
    members: Mapping[int, Sequence[str]], partitions: Mapping[str, int], member: int
) -> set[TopicPartition]:
    """A member's share by Kafka's range assignment: for each topic, ranges of partitions in the order of members.

    Topics with equal numbers of partitions and the same members are assigned alike, so their partitions stay together.
    `members`: topics by member; `partitions`: number of partitions by topic."""
    share: set[TopicPartition] = set()
    for topic in members[member]:
        interested = sorted(other for other, topics in members.items() if topic in topics)
        each, extra = divmod(partitions[topic], len(interested))
        rank = interested.index(member)
        first = rank * each + min(rank, extra)
        share |= {(topic, number) for number in range(first, first + each + (rank < extra))}
    return share


def beat(connection: sqlite3.Connection, members: Mapping[int, str], is_gone: Callable[[int], bool]) -> None:
    """Renew the leases of this process's members, and evict members of their groups that are dead or expired.

    `members`: groups by member; `is_gone`: whether a member's process is known to be dead."""
    now_ms = monotonic_ms()
    for member, group in members.items():
        leases = dict(
            connection.execute("SELECT id, lease_until_ms FROM members WHERE consumer_group = ?", (group,)).fetchall()
        )
        connection.execute("UPDATE members SET lease_until_ms = ? WHERE id = ?", (now_ms + LEASE_MS, member))
        # A member whose own lease expired (busy machine, stalled disk) evicts no others for an expired lease: they may
        # have been stalled as well and get time to renew.
        was_on_time = member in leases and not _expired(leases.pop(member), now_ms)
        dead = [other for other, lease in leases.items() if is_gone(other) or (was_on_time and _expired(lease, now_ms))]
        evict(connection, group, dead)


def evict(connection: sqlite3.Connection, group: str, members: Sequence[int]) -> None:
    """Remove members and their grants."""
    for member in members:
        connection.execute("DELETE FROM grants WHERE consumer_group = ? AND member = ?", (group, member))
        connection.execute("DELETE FROM members WHERE id = ?", (member,))
    if members:
        _bump(connection, group)


def monotonic_ms() -> int:
    """Time since the machine's start, equal in all its processes and independent of the wall clock."""
    return time.monotonic_ns() // 1_000_000


def _expired(lease_until_ms: int, now_ms: int) -> bool:
    # A lease that ends later than now + LEASE_MS was written before the machine's last start.
    return not now_ms <= lease_until_ms <= now_ms + LEASE_MS


def _share(connection: sqlite3.Connection, group: str, member: int) -> set[TopicPartition]:
    members = _members(connection, group)
    partitions = dict(connection.execute("SELECT name, partitions FROM topics").fetchall())
    return range_share(members, partitions, member)


def member_names(database: Database, group: str) -> frozenset[str]:
    """Names of the group's current members."""
    with database.read() as connection:
        return frozenset(map(str, _members(connection, group)))


def _members(connection: sqlite3.Connection, group: str) -> dict[int, list[str]]:
    rows = connection.execute("SELECT id, topics FROM members WHERE consumer_group = ?", (group,)).fetchall()
    return {member: json.loads(topics) for member, topics in rows}


def _granted(connection: sqlite3.Connection, group: str) -> set[TopicPartition]:
    return set(connection.execute("SELECT topic, number FROM grants WHERE consumer_group = ?", (group,)).fetchall())


def _version(connection: sqlite3.Connection, group: str) -> int:
    row = connection.execute("SELECT version FROM consumer_groups WHERE name = ?", (group,)).fetchone()
    return int(row[0])


def _bump(connection: sqlite3.Connection, group: str) -> int:
    row = connection.execute(
        "INSERT INTO consumer_groups VALUES (?, 1) ON CONFLICT DO UPDATE SET version = version + 1 RETURNING version",
        (group,),
    ).fetchone()
    return int(row[0])
