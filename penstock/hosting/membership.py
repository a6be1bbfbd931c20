"""Membership of this process in its namespace: what it announces, and what it does with what the others announce."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import structlog

from penstock.config import Settings
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.statuses import CLOSED
from penstock.engine.core.versions import versions_of
from penstock.hosting.namespace import Namespace, queues_of
from penstock.schemas.records.registry import MemberAnnounced
from penstock.schemas.values.levels import LEVEL
from penstock.topics.members import Membership, Neighbours
from penstock.workers.activity.decorator import AnyActivity

REMINDER_S = 60.0

logger = structlog.get_logger(__name__)


def announcement(
    settings: Settings,
    workflows: Mapping[str, Any] | None = None,
    activities: Mapping[str, AnyActivity] | None = None,
    queues: Sequence[str] | None = None,
) -> MemberAnnounced:
    """What this process announces. `workflows`, `activities`: what it hosts; `queues`: by default the activities'."""
    workflows, activities = workflows or {}, activities or {}
    host = socket.gethostname()
    return MemberAnnounced(
        member=f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
        application=settings.application,
        build=settings.build,
        level=LEVEL,
        host=host,
        pid=os.getpid(),
        workflows={name: definition.version for name, definition in workflows.items()},
        activities=tuple(sorted(activities)),
        queues=tuple(queues or queues_of(activities)),
        versions={
            name: tuple(sorted(versions)) for name in workflows if len(versions := versions_of(workflows, name)) > 1
        },
    )


def join(
    namespace: Namespace,
    settings: Settings,
    announced: MemberAnnounced,
    on_error: Callable[[], None] = lambda: None,
    *,
    observe: bool = False,
) -> Membership:
    """Join the namespace; `on_error` is called if this process has to leave it. `observe`: see the members only.

    Raises NotAdmitted, which says what to do; UnknownTopic, LogError."""
    is_ended = _has_ended if settings.embedded else lambda _: False
    membership = Membership(namespace.log, namespace.topics, announced, is_ended=is_ended, on_error=on_error)
    membership.join(observe=observe)
    return membership


@contextlib.contextmanager
def joined(namespace: Namespace, settings: Settings, announced: MemberAnnounced) -> Iterator[Membership]:
    """Join the namespace for the duration of a block. Raises as `join`, and at its end why it had to leave early."""
    membership = join(namespace, settings, announced)
    try:
        yield membership
    finally:
        membership.leave()
    if membership.error is not None:
        raise membership.error


def keep_informed(hosted: Hosted, membership: Membership) -> None:
    """Let a processor know what the others host, and log types that it lacks, at once and every minute."""
    reminders = Reminders(hosted)

    def listen(neighbours: Neighbours) -> None:
        hosted.note_others(neighbours.workflows, neighbours.level, neighbours.versions, neighbours.everywhere)
        reminders.note(neighbours)

    membership.listen(listen)


class Reminders:
    """Log lines about workflow types that this processor lacks: new ones at once, then one line a minute."""

    def __init__(self, hosted: Hosted, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._hosted, self._clock_s = hosted, clock_s
        self._lacking: set[str] = set()
        self._due_s = 0.0

    def note(self, neighbours: Neighbours) -> None:
        """Compare, and log if it is time to."""
        lacking = neighbours.workflows.keys() - self._hosted.workflows.keys()
        if lacking and (lacking - self._lacking or self._clock_s() >= self._due_s):
            self._due_s = self._clock_s() + REMINDER_S
            logger.warning(
                "other processors host workflow types that this one lacks: on its shards their runs wait until a "
                "processor with these types takes over; replace this processor",
                types=sorted(lacking),
            )
        self._lacking = lacking


def unhosted(run: Mapping[str, Any], neighbours: Neighbours, own_types: Mapping[str, Any]) -> list[str]:
    """What a run needs and no live member hosts, a sentence each. `run`: as committed reads describe it."""
    if run["status"] in CLOSED:
        return []
    found = []
    type_, version = run["type"], run["version"]
    if type_ not in own_types and type_ not in neighbours.workflows:
        found.append(f"no live processor hosts the workflow {type_}")
    elif version not in {*versions_of(own_types, type_), *neighbours.versions.get(type_, ())}:
        found.append(f"no live processor hosts version {version} of the workflow {type_}")
    names = {activity["activity"] for activity in run["pending_activities"]} - neighbours.activities
    found += [f"no live worker hosts the activity {name}" for name in sorted(names)]
    return found


def _has_ended(announced: MemberAnnounced) -> bool:
    """Whether a member's process has ended: an embedded log has members on this machine only (or in containers)."""
    if announced.host != socket.gethostname() or announced.pid <= 0:
        return False
    try:
        os.kill(announced.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it belongs to another user
        return False
    return False
