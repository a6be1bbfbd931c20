"""Membership of a process in its namespace: its announcements in `registry`, and what the other members host.

    join: announce ─→ read to that record ─→ compare with the others ─→ announce as admitted
    then, on a thread: read, and announce again at intervals            leave: delete the announcement

Time is the log's: an announcement counts until a while after its append time, and a member takes the append time of its
own latest announcement as the present. After a gap between its own announcements (the log was away, the process was
stopped) the others get as long again before they count as expired.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from penstock.schemas.encoding.codec import encode, write_at
from penstock.schemas.errors import LogError, LogUnavailable, NotAdmitted, UnknownTopic
from penstock.schemas.records.registry import MemberAnnounced
from penstock.schemas.values.levels import FIRST_LEVEL, LEVEL
from penstock.topics.catalogue import DAY_MS, Topics, creation_advice
from penstock.topics.log import Log, Publisher, Reader, Record
from penstock.topics.registry import Registry, SeenMember, level_record, member_key, read_registry, require_level

logger = logging.getLogger(__name__)

NAMES_SHOWN_MAX = 5
JOIN_TIMEOUT_S = 30.0
FLUSH_TIMEOUT_S = 5.0
AWAY_PAUSE_S = 1.0
READ_S = 0.5
LOOK_S = 0.2
"""Interval of reads by a member that has joined. Waiting for a record instead would wake its thread at each commit of
an embedded log, on whatever topic."""
READ_RECORDS_MAX = 1_000
FORGOTTEN_MS = DAY_MS
"""Age of an announcement that the next member deletes: its process died."""


class Timing(msgspec.Struct, frozen=True):
    """Intervals of a membership.

    `settle_s`: how long a new member waits until the others know it. `raise_after_s`: how long all members must know a
    feature level before it is raised without an operator; as long, a roll-back to the build before is possible."""

    heartbeat_s: float = 5.0
    expires_s: float = 20.0
    settle_s: float = 0.5
    raise_after_s: float = 86_400.0
    repeat_s: float = 60.0


class Neighbours(msgspec.Struct, frozen=True):
    """What a member knows: types (with their highest versions) that other live members host, activities that any live
    member hosts, and the namespace's feature level. `versions`: all versions of these types; `everywhere`: those that
    each of the others hosts which has the type."""

    workflows: Mapping[str, int] = {}
    activities: frozenset[str] = frozenset()
    level: int = LEVEL
    versions: Mapping[str, frozenset[int]] = {}
    everywhere: Mapping[str, frozenset[int]] = {}


Listener = Callable[[Neighbours], None]


class Membership:
    """A process's place in a namespace. `error`: why it no longer belongs there, None while it does.

    `is_ended`: whether the process of an announcement is known to have ended, before the announcement expires."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        announced: MemberAnnounced,
        *,
        is_ended: Callable[[MemberAnnounced], bool] = lambda _: False,
        on_error: Callable[[], None] = lambda: None,
        timing: Timing = Timing(),
    ) -> None:
        self._log, self._topics, self._timing = log, topics, timing
        self._announced = msgspec.structs.replace(announced, expires_ms=round(timing.expires_s * 1000))
        self._is_ended, self._on_error = is_ended, on_error
        self._registry = Registry()
        self._now_ms = self._own_ms = self._trusted_ms = 0
        self._known_since_ms: int | None = None
        self._listeners: list[Listener] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._reader: Reader | None = None
        self._publisher: Publisher | None = None
        self._sending = threading.Lock()
        self.neighbours = Neighbours()
        self.error: NotAdmitted | None = None

    # Caller's thread.

    def join(self, *, observe: bool = False) -> None:
        """Announce this process and compare it with the live members; `observe`: take no part, no thread is started.

        Raises NotAdmitted (nothing is left of it in the registry), UnknownTopic, LogError (it cannot be announced)."""
        topic = self._topics.registry
        if not self._log.describe([topic]):
            raise UnknownTopic(f"There is no topic {topic}: {creation_advice(topic)} first.")
        first, _ = self._log.ends([(topic, 0)])[topic, 0]
        self._reader = self._log.reader({(topic, 0): first})
        self._publisher = self._log.publisher()
        try:
            if self._announced.level > FIRST_LEVEL:  # older members must be able to read what follows
                self._registry.level = read_registry(self._log, self._topics, JOIN_TIMEOUT_S).level
                self._write_level()
            own = self._announce_and_read(admitted=False)
            require_level(self._registry.level, self._announced.level)
            problem = refusal(self._announced, own, self.others(admitted=False))
            if problem:
                raise NotAdmitted(problem)
            self._sweep()
            if observe:
                return
            self._announce_and_read(admitted=True)
            require_level(self._registry.level, self._announced.level)  # it may have been raised in between
        except BaseException:
            self.leave()
            raise
        self._write_level()
        if self.others():
            time.sleep(self._timing.settle_s)  # until the others have read it
        self._thread = threading.Thread(target=self._run, name="penstock-membership", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Delete the announcement. Idempotent."""
        self._stop.set()
        with self._sending:
            publisher, self._publisher = self._publisher, None
        if publisher is not None:
            with contextlib.suppress(LogError):  # it expires
                publisher.send(Record(self._topics.registry, 0, member_key(self._announced.member), None))
                publisher.flush(FLUSH_TIMEOUT_S)  # the thread reads it, and ends
            publisher.close()
        if self._thread is not None:
            self._thread.join(JOIN_TIMEOUT_S)
        if self._reader is not None:
            self._reader.close()
        forget_level(self)

    def listen(self, listener: Listener) -> None:
        """Call `listener` now, whenever the neighbours change, and at intervals; later calls come from a thread."""
        self._listeners.append(listener)
        listener(self.neighbours)

    def live(self) -> list[SeenMember]:
        """All live members, this one included, as they were last read."""
        return [seen for seen in self._registry.live(self._now_ms) if not self._is_ended(seen.announced)]

    def others(self, *, admitted: bool = True) -> list[SeenMember]:
        """The live members except this one; by default only those that were admitted."""
        found = (seen for seen in self.live() if seen.announced.member != self._announced.member)
        return [seen for seen in found if seen.announced.admitted or not admitted]

    @property
    def level(self) -> int:
        """The namespace's feature level."""
        return self._registry.level

    def raise_level(self, level: int, by: str) -> None:
        """Raise the namespace's level to `level`. Raises LogUnavailable."""
        self._send([level_record(self._topics, level, by)])

    # Both threads, one after the other.

    def _announce(self, *, admitted: bool) -> None:
        self._announced = msgspec.structs.replace(self._announced, admitted=admitted)
        key = member_key(self._announced.member)
        self._send([Record(self._topics.registry, 0, key, encode(self._announced))])

    def _send(self, records: Iterable[Record]) -> None:
        """Append records, unless this member has left. Raises what the log refuses, LogUnavailable."""
        refusals: list[Exception] = []
        with self._sending:
            if self._publisher is not None:
                for record in records:
                    self._publisher.send(record, lambda error: refusals.append(error) if error is not None else None)
                self._publisher.flush(FLUSH_TIMEOUT_S)
        if refusals:
            raise LogError(f"{self._topics.registry} accepts no announcement of this process: {refusals[0]}")

    def _announce_and_read(self, *, admitted: bool) -> SeenMember:
        """Announce, and read to that announcement. Raises LogUnavailable."""
        before = self._registry.members.get(self._announced.member)
        self._announce(admitted=admitted)
        deadline_s = time.monotonic() + JOIN_TIMEOUT_S
        while time.monotonic() < deadline_s:
            self._read(READ_S)
            own = self._registry.members.get(self._announced.member)
            if own is not None and own != before:
                return own
        raise LogUnavailable(f"{self._topics.registry} could not be read to its end within {JOIN_TIMEOUT_S:g} s")

    def _read(self, timeout_s: float) -> None:
        assert self._reader is not None, "join first"
        for record in self._reader.read(READ_RECORDS_MAX, timeout_s):
            self._registry.add(record)
        own = self._registry.members.get(self._announced.member)
        if own is not None and own.at_ms != self._own_ms:
            self._take_time(own.at_ms)
        self._know()

    def _take_time(self, at_ms: int) -> None:
        """Take the append time of the own announcement as the present, unless it follows a gap."""
        gap_s = self._timing.heartbeat_s + self._timing.expires_s / 2
        if self._own_ms and at_ms - self._own_ms > 1000 * gap_s:
            self._trusted_ms = at_ms + self._announced.expires_ms
        self._own_ms = at_ms
        if at_ms >= self._trusted_ms or not self._now_ms:
            self._now_ms = at_ms

    def _know(self) -> None:
        """Compute the neighbours, and call the listeners if they changed."""
        others = self.others()
        versions, everywhere = _versions(seen.announced for seen in others)
        workflows = {type_: max(found) for type_, found in versions.items()}
        activities = frozenset(self._announced.activities).union(*(seen.announced.activities for seen in others))
        neighbours = Neighbours(workflows, activities, self._registry.level, versions, everywhere)
        if neighbours != self.neighbours:
            self.neighbours = neighbours
            self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            try:
                listener(self.neighbours)
            except Exception:  # the others are called all the same, and the announcements go on
                logger.exception("a listener failed to take over what the other processes host")

    def _sweep(self) -> None:
        """Delete announcements of processes that died long ago."""
        old = [name for name, seen in self._registry.members.items() if seen.at_ms < self._now_ms - FORGOTTEN_MS]
        self._send([Record(self._topics.registry, 0, member_key(name), None) for name in old])

    # The membership's thread.

    def _run(self) -> None:
        next_s = time.monotonic() + self._timing.heartbeat_s
        repeat_s = time.monotonic() + self._timing.repeat_s
        trouble = ""
        while not self._stop.is_set() and self.error is None:
            try:
                self._stop.wait(max(0.0, min(LOOK_S, next_s - time.monotonic())))
                self._read(0.0)
                self._obey_level()
                if time.monotonic() >= next_s:
                    next_s = time.monotonic() + self._timing.heartbeat_s
                    self._announce(admitted=True)
                trouble = ""
            except Exception as error:  # noqa: BLE001 - without this thread the others take this process for dead
                trouble = self._note_trouble(error, trouble)
                self._stop.wait(AWAY_PAUSE_S)
            if time.monotonic() >= repeat_s:
                repeat_s = time.monotonic() + self._timing.repeat_s
                self._tell()

    def _note_trouble(self, error: Exception, before: str) -> str:
        """Log an error of the thread, unless the one before was of the same kind; returns the kind."""
        kind = LogError.__name__ if isinstance(error, LogError) else repr(error)
        if kind == before or self._stop.is_set():
            return kind
        if isinstance(error, LogError):
            logger.warning("the registry is unavailable; waiting for it: %s", error)
        else:
            logger.error("unexpected error in the namespace's membership; trying again", exc_info=error)
        return kind

    def _obey_level(self) -> None:
        """Write at the namespace's level, leave if it is too high for this build, raise it when its time has come."""
        self._write_level()
        try:
            require_level(self._registry.level, self._announced.level)
        except NotAdmitted as error:
            self.error = error
            logger.critical("this process leaves its namespace: %s", error)
            self._on_error()
            return
        known = min((seen.announced.level for seen in self.live()), default=0)
        if known <= self._registry.level:
            self._known_since_ms = None
        elif self._known_since_ms is None:
            self._known_since_ms = self._own_ms
        elif self._own_ms - self._known_since_ms >= self._timing.raise_after_s * 1000:
            logger.info("all members know feature level %d; raising the namespace to it", known)
            self.raise_level(known, "members")
            self._known_since_ms = None

    def _write_level(self) -> None:
        note_level(self, self._registry.level)


def _versions(others: Iterable[MemberAnnounced]) -> tuple[dict[str, frozenset[int]], dict[str, frozenset[int]]]:
    """Versions of each type that any member hosts, and those that all members host which have the type."""
    versions: dict[str, frozenset[int]] = {}
    everywhere: dict[str, frozenset[int]] = {}
    for other in others:
        for type_, highest in other.workflows.items():
            found = frozenset(other.versions.get(type_, (highest,)))
            versions[type_] = versions.get(type_, frozenset()) | found
            everywhere[type_] = everywhere.get(type_, found) & found
    return versions, everywhere


_written_levels: dict[int, int] = {}
"""Levels of the namespaces that this process writes to, by membership or client."""


def note_level(owner: object, level: int) -> None:
    """Write no record above this level, that of a namespace, until `forget_level`: for the whole process."""
    if _written_levels.get(id(owner)) != level:
        _written_levels[id(owner)] = level
        write_at(min([LEVEL, *_written_levels.values()]))


def forget_level(owner: object) -> None:
    """Undo `note_level`. Idempotent."""
    if _written_levels.pop(id(owner), None) is not None:
        write_at(min([LEVEL, *_written_levels.values()]))


def refusal(own: MemberAnnounced, seen: SeenMember, others: Sequence[SeenMember]) -> str:
    """Why a process does not belong to the namespace, in a sentence with the remedy; empty if it does.

    `seen`: its own announcement. Of two processes that start at once, the one that announced itself first stays."""
    earlier = [other.announced for other in others if other.announced.admitted or other.offset < seen.offset]
    return _name_problem(own, earlier) or _type_problem(own, earlier)


def _name_problem(own: MemberAnnounced, others: Sequence[MemberAnnounced]) -> str:
    named = [other for other in others if other.application and other.application != own.application]
    if not named or not own.application:
        return ""
    other = named[0]
    return (
        f"this program is the application {own.application!r}, and {_named(other)} of {other.application!r} uses the "
        "same namespace: choose another with --namespace, or set the same --application for both."
    )


def _type_problem(own: MemberAnnounced, others: Sequence[MemberAnnounced]) -> str:
    hosting = [other for other in others if other.workflows]
    hosted = {type_ for other in hosting for type_ in other.workflows}
    if not own.workflows or not hosted or hosted & own.workflows.keys():
        return ""
    return (
        f"this program hosts {_listed(own.workflows)}, and {_named(hosting[0])} in the same namespace hosts "
        f"{_listed(hosted)}, so they are two applications: choose another namespace with --namespace, or stop that "
        f"process first (one that died counts for {hosting[0].expires_ms // 1000} s)."
    )


def _named(other: MemberAnnounced) -> str:
    return f"process {other.pid} on {other.host}" if other.host else f"the process {other.member}"


def _listed(names: Mapping[str, int] | set[str]) -> str:
    """The first few names, sorted."""
    shown = sorted(names)[:NAMES_SHOWN_MAX]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{', '.join(shown)}{more}"
