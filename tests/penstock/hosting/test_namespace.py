"""Tests of what a process verifies of its namespace's topics when it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock.config import Settings
from penstock.hosting.namespace import check_topics, check_worker_topics, make_topics
from penstock.schemas.errors import TopicMismatch, UnknownTopic
from penstock.topics import admin
from penstock.topics.catalogue import Topics, specs
from penstock.topics.embedded import EmbeddedLog
from penstock.topics.kafka import KafkaLog
from penstock.topics.log import Log
from tests.contract.log_tools import unique

SETTINGS = Settings(log="embedded::memory:")
WRONG = {
    "message.timestamp.type": ("results", "CreateTime", "must be LogAppendTime"),
    "unclean.leader.election.enable": ("results", "true", "must be false"),
    "cleanup.policy": ("results", "compact", "must be delete"),
    "retention.ms": ("tasks.mail", "1000", "must be -1"),
    "retention.bytes": ("tasks.mail", "1000000", "must be -1"),
    "delete.retention.ms": ("state-changelog", "1000", "must be at least 86400000"),
}


@pytest.fixture(params=["embedded", "kafka"])
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    """Each kind of log."""
    opened: Log = EmbeddedLog()
    if request.param == "kafka":
        opened = KafkaLog(request.getfixturevalue("kafka_bootstrap"))
    yield opened
    opened.close()


def _spoil(log: Log, topics: Topics) -> None:
    """Give topics of a namespace other settings than it needs, as another tool may have created them."""
    for key, (name, value, _) in WRONG.items():
        log.configure(topics.name(name), {key: value})


@pytest.mark.parametrize(
    ("check", "kept"),
    [(check_topics, ["results", "tasks.mail", "state-changelog"]), (check_worker_topics, ["results", "tasks.mail"])],
    ids=["processor", "worker"],
)
def test_other_settings_are_named_at_the_start(log: Log, check: Callable[..., Any], kept: list[str]) -> None:
    """A processor, and a worker of its own topics, names each setting that could lose records, and the remedy."""
    topics = Topics(unique("settings"))
    make_topics(log, topics, SETTINGS, ["mail"])
    check(log, topics, SETTINGS, ["mail"])
    _spoil(log, topics)
    with pytest.raises(TopicMismatch) as refused:
        check(log, topics, SETTINGS, ["mail"])
    problems = str(refused.value).split("; ")
    expected = {key: found for key, found in WRONG.items() if found[0] in kept}
    assert len(problems) == len(expected)
    for key, (name, value, words) in expected.items():
        (problem,) = [problem for problem in problems if problem.startswith(f"{key} of {topics.name(name)} is ")]
        assert f"is {value} and {words}: run `penstock topics apply" in problem


def test_apply_removes_the_problems(log: Log) -> None:
    """What the message says to do does it: `topics apply` sets what differs."""
    topics = Topics(unique("settings"))
    make_topics(log, topics, SETTINGS, ["mail"])
    _spoil(log, topics)
    make_topics(log, topics, SETTINGS, ["mail"])
    check_topics(log, topics, SETTINGS, ["mail"])
    check_worker_topics(log, topics, SETTINGS, ["mail"])


@pytest.mark.parametrize("check", [check_topics, check_worker_topics])
def test_a_namespace_without_topics_is_refused(log: Log, check: Callable[..., Any]) -> None:
    """Before `topics apply` no process starts, and the error says what to run."""
    with pytest.raises(UnknownTopic, match="has no topics yet: run `penstock topics apply`"):
        check(log, Topics(unique("settings")), SETTINGS, ["mail"])


def test_a_topic_that_is_new_keeps_no_process_from_starting(log: Log) -> None:
    """A namespace of an earlier build lacks an optional topic: processes start, and `verify` names it."""
    topics = Topics(unique("older"))
    made = [spec for spec in specs(topics, 2, ["mail"]) if spec.name != topics.cancellations]
    admin.apply(log, admin.plan(log, made))
    admin.declare_namespace(log, topics, 2)
    assert check_topics(log, topics, SETTINGS, ["mail"]) == 2
    check_worker_topics(log, topics, SETTINGS, ["mail"])
    (problem,) = admin.verify(log, specs(topics, 2, ["mail"]))
    assert problem == f"{topics.cancellations} does not exist: run `penstock topics apply`"
