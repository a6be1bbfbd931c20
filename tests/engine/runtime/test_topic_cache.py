"""Tests of the cache of topics: which look-ups it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from penstock.engine.runtime.topic_cache import LOOKED_UP_MAX, MISSING_AGAIN_MS, NEW_MAX, TopicCache
from penstock.schemas.errors import LogUnavailable
from penstock.topics.log import TopicDescription


class Broker:
    """The one method of a log that the cache calls. `asked`: the names of each call, None for all."""

    creates_topics = False

    def __init__(self, *topics: str) -> None:
        self.topics = set(topics)
        self.asked: list[list[str] | None] = []
        self.is_away = False

    def describe(self, names: Sequence[str] | None = None) -> Mapping[str, TopicDescription]:
        self.asked.append(None if names is None else list(names))
        if self.is_away:
            raise LogUnavailable("away")
        return {name: TopicDescription(name, 4, {}) for name in self.topics if names is None or name in names}


class Rig:
    def __init__(self, *topics: str) -> None:
        self.broker, self.now_ms = Broker(*topics), 1_700_000_000_000
        self.cache = TopicCache(cast("Any", self.broker), lambda: self.now_ms)
        self.cache.load()

    def second(self) -> bool:
        self.now_ms += MISSING_AGAIN_MS
        return self.cache.has_news()


@pytest.fixture
def rig() -> Rig:
    """A cache that was loaded from a broker with 1,500 topics."""
    return Rig("commands", *(f"foreign-{number}" for number in range(1_500)))


def test_only_missing_topics_are_looked_up_again(rig: Rig) -> None:
    """While a topic is missing, each look-up asks for it alone, once a second, and never for all topics."""
    assert rig.cache.partitions("late") is None
    for _ in range(5):
        assert not rig.second()
        assert not rig.cache.has_news()
        assert rig.cache.partitions("late") is None
    assert rig.broker.asked == [None] + [["late"]] * 6


def test_a_topic_that_appears_is_found(rig: Rig) -> None:
    """A missing topic that was created is news once, and has its partitions from then on."""
    rig.cache.partitions("late")
    rig.broker.topics.add("late")
    assert rig.second()
    assert rig.cache.partitions("late") == 4
    assert not rig.second()


def test_many_missing_topics_take_turns(rig: Rig) -> None:
    """However many topics are missing, one look-up asks for a bounded number of them, and each gets its turn."""
    names = [f"late-{number}" for number in range(3 * LOOKED_UP_MAX)]
    assert [rig.cache.partitions(name) for name in names] == [None] * len(names)
    assert len(rig.broker.asked) == 1 + NEW_MAX
    rig.broker.topics.add(names[-1])
    assert [rig.second() for _ in range(3)] == [False, False, True]
    assert max(len(asked) for asked in rig.broker.asked if asked is not None) == LOOKED_UP_MAX


def test_topics_are_read_again_after_an_abort_as_far_as_they_are_used(rig: Rig) -> None:
    """A second load asks for the topics in use only, and a topic that is gone counts as missing."""
    assert rig.cache.partitions("commands") == 4
    assert rig.cache.partitions("foreign-7") == 4
    rig.broker.topics.discard("foreign-7")
    rig.cache.load()
    assert rig.broker.asked[-1] == ["commands", "foreign-7"]
    assert rig.cache.partitions("foreign-7") is None
    assert rig.cache.partitions("foreign-8") == 4


def test_a_log_that_is_away_counts_as_missing_topics(rig: Rig) -> None:
    """A look-up that fails raises nothing; the topic is found once the log answers again."""
    rig.broker.topics.add("late")
    rig.broker.is_away = True
    assert rig.cache.partitions("late") is None
    assert not rig.second()
    rig.broker.is_away = False
    assert rig.second()
    assert rig.cache.partitions("late") == 4


def test_a_topic_that_was_not_used_yet_stays_known() -> None:
    """After a second load, a topic that exists and was not used is known, even if nothing can be looked up."""
    rig = Rig("early", "late")
    assert rig.cache.partitions("early") == 4
    rig.cache.load()
    rig.broker.is_away = True
    assert rig.cache.partitions("late") == 4
