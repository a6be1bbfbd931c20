"""Namespace: its log, topics and shards; creation and verification of its topics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from penstock.config import Settings
from penstock.schemas.errors import TopicMismatch, UnknownTopic
from penstock.topics import admin
from penstock.topics.catalogue import SHARDS_EMBEDDED, SHARDS_KAFKA, Topics, creation_advice, specs
from penstock.topics.log import Log
from penstock.workers.activity.decorator import AnyActivity


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
    shards = admin.declared_shards(log, topics)
    if shards is None:
        raise UnknownTopic(f"namespace {topics.namespace} has no topics yet: {creation_advice()} first.")
    if settings.shards and settings.shards != shards:
        raise TopicMismatch(
            f"namespace {topics.namespace} has {shards} shards, but the setting shards is {settings.shards}: "
            "omit the setting, or use another namespace."
        )
    problems = admin.verify(log, specs(topics, shards, queues, replication_of(settings)))
    if problems:
        raise TopicMismatch("; ".join(problems))
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
