"""Catalogue of topics: names, keys, partitions, settings and records, as data.

`topics/admin.py` and the reference page read it. Names, keys, partitions and retention are public API, because other
programs produce to these topics and consume them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from penstock.schemas.encoding import record_types
from penstock.schemas.errors import BadName
from penstock.schemas.ids import QUEUE
from penstock.topics.log import TopicSpec

SHARDS_KAFKA = 4
SHARDS_EMBEDDED = 1
TASK_PARTITIONS_PER_SHARD = 4
REPLIES_PARTITIONS = 4

# Kafka's default, set explicitly so that it does not depend on a broker's setting.
MESSAGE_BYTES_MAX = 1_048_588
# A dead letter contains a whole record of another topic.
DEAD_LETTER_BYTES_MAX = MESSAGE_BYTES_MAX + 65_536
# Encoded key and value of any record that Penstock writes. The rest up to MESSAGE_BYTES_MAX is for Kafka's headers, ids
# and records within records (an event in its decision).
RECORD_BYTES_MAX = 1_000_000
COMPACTED_SEGMENT_BYTES = 64 * 1024 * 1024
# Kafka's minimum: members announce themselves every few seconds, and each start of a process reads all of it.
REGISTRY_SEGMENT_BYTES = 1024 * 1024

FOR_EVER_MS = -1
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# How long compacted topics keep deletions. A store that is behind for longer may have missed some (takeover.py).
DELETE_RETENTION_MS = DAY_MS

IN_SYNC = "min.insync.replicas"
AT_LEAST = frozenset({IN_SYNC, "delete.retention.ms"})
"""Settings whose required value is a minimum."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TOPIC_BYTES_MAX = 249


def specs(topics: Topics, shards: int, queues: Iterable[str] = (), replication: int = -1) -> list[TopicSpec]:
    """Specifications of all topics of a namespace, with one task topic for each queue. Raises BadName.

    `replication`: replicas of each partition on Kafka, -1 for the broker's default."""
    named = [(topics.name(kind.name), kind) for kind in KINDS]
    named += [(topics.tasks(queue), TASKS) for queue in sorted(set(queues))]
    return [TopicSpec(name, kind.partitions(shards), _config(kind, replication), replication) for name, kind in named]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """Description of a topic. It has `per_shard` partitions for each shard, plus `fixed`.

    A `retention_ms` of -1 keeps records for ever. `is_optional`: processes of a namespace that an earlier build made go
    on without it."""

    name: str
    purpose: str
    writers: str
    key: str
    kept: str
    records: tuple[str, ...]
    per_shard: int = 0
    fixed: int = 0
    compacted: bool = False
    segment_bytes: int = COMPACTED_SEGMENT_BYTES
    retention_ms: int = FOR_EVER_MS
    bytes_max: int = MESSAGE_BYTES_MAX
    is_optional: bool = False

    def partitions(self, shards: int) -> int:
        """The number of partitions in a namespace with `shards` shards."""
        return self.per_shard * shards + self.fixed


COMMANDS = Kind(
    name="commands",
    purpose="Commands to workflows.",
    writers="clients, processors (to other shards), any foreign producer",
    key="workflow id",
    kept="until processed, then for the audit window; trimmed by the processors, not by time",
    records=tuple(record_types.COMMANDS),
    per_shard=1,
)
RESULTS = Kind(
    name="results",
    purpose="Outcomes of activity attempts, and what running ones report.",
    writers="workers",
    key="workflow id",
    kept="until processed, then for the audit window; trimmed by the processors, not by time",
    records=("TaskCompleted", "TaskFailed", "TaskStarted", "TaskHeartbeat"),
    per_shard=1,
)
EVENTS = Kind(
    name="events",
    purpose="History of all runs: one record for each decision about a run, in the order of decisions.",
    writers="processors",
    key="workflow id",
    kept="for ever",
    records=("DecisionRecorded",),
    per_shard=1,
)
COMPLETIONS = Kind(
    name="completions",
    purpose="One record for each closed run, for downstream consumers.",
    writers="processors",
    key="workflow id",
    kept="28 days",
    records=("WorkflowClosed",),
    per_shard=1,
    retention_ms=28 * DAY_MS,
)
REPLIES = Kind(
    name="replies",
    purpose="Replies to commands, on the partition that the command's `reply_to` names.",
    writers="processors",
    key="message id of the command",
    kept="1 hour",
    records=("Accepted", "Rejected", "RunClosed"),
    fixed=REPLIES_PARTITIONS,
    retention_ms=HOUR_MS,
)
STATE_CHANGELOG = Kind(
    name="state-changelog",
    purpose="Writes of the processors' stores, from which a store can be restored.",
    writers="processors",
    key="key in the store; the partition is the shard, regardless of the key",
    kept="the last record of each key",
    records=("rows of the store",),
    per_shard=1,
    compacted=True,
)
DEAD_LETTERS = Kind(
    name="dead-letters",
    purpose="Records that could not be processed, unchanged, with their place and the reason.",
    writers="processors, workers",
    key="key of the record",
    kept="28 days",
    records=("DeadLetter",),
    fixed=1,
    retention_ms=28 * DAY_MS,
    bytes_max=DEAD_LETTER_BYTES_MAX,
)
REGISTRY = Kind(
    name="registry",
    purpose="Number of shards, their owners and addresses, running processes and what they host, feature level.",
    writers="processors, workers, the command line",
    key="`namespace`, `level`, `shard/<n>`, `member/<name>`, `workflow/<type>`",
    kept="the last record of each key",
    records=("NamespaceDeclared", "LevelRaised", "ShardOwned", "MemberAnnounced", "WorkflowDeclared"),
    fixed=1,
    compacted=True,
    segment_bytes=REGISTRY_SEGMENT_BYTES,
)
CANCELLATIONS = Kind(
    name="cancellations",
    purpose="Attempts that no run waits for any more, for the workers that run them.",
    writers="processors",
    key="workflow id",
    kept="1 hour",
    records=("AttemptsCancelled",),
    per_shard=1,
    retention_ms=HOUR_MS,
    is_optional=True,
)
TASKS = Kind(
    name="tasks.<queue>",
    purpose="One record for each attempt of an activity on that queue.",
    writers="processors, each to the partitions of its own shards; workers that give back what they do not have",
    key="workflow id; the partition is one of the shard's, in rotation",
    kept="until done; trimmed by the workers, not by time",
    records=("ActivityTask",),
    per_shard=TASK_PARTITIONS_PER_SHARD,
)

TASKS_PREFIX = "tasks."
KINDS = (COMMANDS, RESULTS, EVENTS, COMPLETIONS, REPLIES, STATE_CHANGELOG, DEAD_LETTERS, REGISTRY, CANCELLATIONS)


class Topics:
    """Names of a namespace's topics: `<prefix>.<namespace>.<name>`. Raises BadName."""

    def __init__(self, namespace: str = "default", prefix: str = "penstock") -> None:
        self.namespace = _checked("namespace", namespace)
        self.prefix = ".".join(_checked("prefix", part) for part in prefix.split("."))
        self.commands = self.name(COMMANDS.name)
        self.results = self.name(RESULTS.name)
        self.events = self.name(EVENTS.name)
        self.completions = self.name(COMPLETIONS.name)
        self.replies = self.name(REPLIES.name)
        self.state_changelog = self.name(STATE_CHANGELOG.name)
        self.dead_letters = self.name(DEAD_LETTERS.name)
        self.registry = self.name(REGISTRY.name)
        self.cancellations = self.name(CANCELLATIONS.name)

    def name(self, kind: str) -> str:
        """The full name of a topic. Raises BadName if it is longer than Kafka allows."""
        name = f"{self.prefix}.{self.namespace}.{kind}"
        if len(name) > _TOPIC_BYTES_MAX:
            raise BadName(f"topic {name} has {len(name)} characters, more than {_TOPIC_BYTES_MAX}: shorten its parts")
        return name

    def tasks(self, queue: str) -> str:
        """The name of a task queue's topic. Raises BadName."""
        return self.name(f"{TASKS_PREFIX}{_checked('task queue', queue, QUEUE)}")

    def has(self, topic: str) -> bool:
        """Whether the topic's name is one of this namespace."""
        return topic.startswith(f"{self.prefix}.{self.namespace}.")

    def queue_of(self, topic: str) -> str | None:
        """The task queue of a topic, None if it is not a task topic of this namespace."""
        beginning = f"{self.prefix}.{self.namespace}.{TASKS_PREFIX}"
        return topic.removeprefix(beginning) if topic.startswith(beginning) else None


def optional_topics(topics: Topics) -> list[str]:
    """The names of the topics without which processes go on."""
    return [topics.name(kind.name) for kind in KINDS if kind.is_optional]


def creation_advice(topic: str = "") -> str:
    """What to do if `topic`, or the namespace, does not exist: a clause for error messages.

    A task queue is created from the module of its activities, so the command then names one."""
    return f"run {_creation_command(topic)}"


def _creation_command(topic: str) -> str:
    """The command that creates a topic, quoted."""
    module = " MODULE` (the module of its activities)" if f".{TASKS_PREFIX}" in topic else "`"
    return f"`penstock topics apply{module}"


def task_partitions_of(shard: int, shards: int, partitions: int) -> list[int]:
    """The partitions of a task topic that the shard's owner writes to: those congruent to the shard.

    An open transaction of a stalled processor therefore blocks tasks of its own shards only."""
    return list(range(shard, partitions, shards))


def _checked(what: str, name: str, pattern: re.Pattern[str] = _NAME) -> str:
    if not pattern.fullmatch(name):
        raise BadName(f"{name!r} is not a valid {what}: use letters, digits, - and _")
    return name


def _config(kind: Kind, replication: int) -> dict[str, str]:
    config = {
        "cleanup.policy": "compact" if kind.compacted else "delete",
        "max.message.bytes": str(kind.bytes_max),
        # By a producer's clock, a record could be refused (an hour ahead), or expire as soon as it is written.
        "message.timestamp.type": "LogAppendTime",
        # A replica that has missed acknowledged records must not become the leader.
        "unclean.leader.election.enable": "false",
    }
    if replication > 1:
        # With three replicas, two in sync: the loss of one broker neither stops writes nor loses records.
        config[IN_SYNC] = str(replication - 1)
    if kind.compacted:
        # Kafka compacts closed segments only; small ones keep a restore short.
        config["segment.bytes"] = str(kind.segment_bytes)
        config["delete.retention.ms"] = str(DELETE_RETENTION_MS)
    else:
        config["retention.ms"] = str(kind.retention_ms)
        # By a broker's default, records that are not read yet could be deleted for the size of the topic.
        config["retention.bytes"] = "-1"
    return config
