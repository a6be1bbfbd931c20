"""Namespace: its log, topics and shards; creation and verification of its topics."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import structlog

from penstock.config import Settings
from penstock.schemas.errors import NotAdmitted, TopicMismatch, UnknownTopic
from penstock.topics import admin
from penstock.topics.catalogue import (
    SHARDS_EMBEDDED,
    SHARDS_KAFKA,
    Topics,
    creation_advice,
    optional_topics,
    specs,
)
from penstock.topics.log import Log, TopicSpec
from penstock.workers.activity.decorator import AnyActivity

logger = structlog.get_logger(__name__)


class Namespace(NamedTuple):
    """A namespace on an open log."""

    log: Log
    topics: Topics
    shards: int


def make_topics(log: Log, topics: Topics, settings: Settings, queues: Iterable[str]) -> int:
    """Create the namespace's topics as needed; returns its number of shards. Raises TopicMismatch, LogError."""
    shards = shards_of(log, topics, settings)
    admin.apply(log, admin.plan(log, specs(topics, shards, queues, replication_of(settings))))
    admin.declare_namespace(log, topics, shards)
    return shards


def check_topics(log: Log, topics: Topics, settings: Settings, queues: Iterable[str]) -> int:
    """Verify the namespace's topics; returns its number of shards.

    Raises UnknownTopic (the namespace has no topics), TopicMismatch (names what is wrong and the remedy), LogError.
    """
    shards = _declared(log, topics)
    if settings.shards and settings.shards != shards:
        raise TopicMismatch(
            f"namespace {topics.namespace} has {shards} shards, but the setting shards is {settings.shards}: "
            "omit the setting, or use another namespace."
        )
    problems = admin.verify(log, _required(log, topics, shards, queues, settings))
    if problems:
        raise TopicMismatch("; ".join(problems))
    return shards


def _required(log: Log, topics: Topics, shards: int, queues: Iterable[str], settings: Settings) -> list[TopicSpec]:
    """The topics that must be as specified: optional ones if they exist. Logs those that do not."""
    optional = log.describe(optional_topics(topics))
    missing = [topic for topic in optional_topics(topics) if topic not in optional]
    for topic in missing:
        logger.warning("going on without a topic that is new", topic=topic, remedy=creation_advice(topic))
    required = specs(topics, shards, queues, replication_of(settings))
    return [spec for spec in required if spec.name not in missing]


def check_worker_topics(log: Log, topics: Topics, settings: Settings, queues: Iterable[str]) -> None:
    """Verify those of these queues' topics, and of the topics that a worker writes, that exist.

    Raises UnknownTopic (the namespace has no topics), TopicMismatch (names what is wrong and the remedy), LogError."""
    queues = list(queues)
    used = {topics.results, topics.dead_letters, topics.cancellations, *map(topics.tasks, queues)}
    required = specs(topics, _declared(log, topics), queues, replication_of(settings))
    existing = log.describe(sorted(used))
    problems = admin.verify(log, [spec for spec in required if spec.name in existing])
    if problems:
        raise TopicMismatch("; ".join(problems))


def _declared(log: Log, topics: Topics) -> int:
    shards = admin.declared_shards(log, topics)
    if shards is None:
        raise UnknownTopic(f"namespace {topics.namespace} has no topics yet: {creation_advice()} first.")
    return shards


def shards_of(log: Log, topics: Topics, settings: Settings) -> int:
    """Return the number of shards that the namespace has, or will be created with."""
    default = SHARDS_EMBEDDED if settings.embedded else SHARDS_KAFKA
    return settings.shards or admin.declared_shards(log, topics) or default


def replication_of(settings: Settings) -> int:
    """Return the replicas of each partition in the catalogue's form: -1 for the broker's default."""
    return settings.replication or -1


def queues_of(activities: Mapping[str, AnyActivity]) -> list[str]:
    """Return the task queues of these activities, sorted."""
    return sorted({definition.queue for definition in activities.values()})


@contextlib.contextmanager
def only_one_dev(log_file: Path | None) -> Iterator[None]:
    """Hold the place of the only `penstock dev` on an embedded log. Raises NotAdmitted if it is taken.

    The kernel releases it however the process ends."""
    if log_file is None:
        yield
        return
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        lock = log_file.with_name(f"{log_file.name}.dev").open("a")
    except OSError:  # opening the log reports it
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NotAdmitted(
                f"another `penstock dev` runs on {log_file}: stop it first, give this one another --log, or use "
                "`penstock processor` and `penstock worker` for more processes of the same application."
            ) from error
        except OSError:  # a file system without locks
            logger.debug("no lock for penstock dev", log=str(log_file))
        yield
