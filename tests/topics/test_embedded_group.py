"""Tests of range assignment: one owner for each partition, co-partitioned topics together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.topics.embedded.group import range_share


@given(st.sets(st.integers(1, 1_000), min_size=1, max_size=12), st.integers(1, 40))
def test_shares_cover_everything_once_and_evenly(members: set[int], partitions: int) -> None:
    """Shares are disjoint, cover both topics, differ by at most one, and have the same numbers of both topics."""
    topics = {"commands": partitions, "results": partitions}
    subscribed = {member: ["commands", "results"] for member in members}
    shares = [range_share(subscribed, topics, member) for member in sorted(members)]
    dealt = [where for share in shares for where in share]
    assert sorted(dealt) == [(topic, number) for topic in sorted(topics) for number in range(partitions)]
    sizes = {len(share) for share in shares}
    assert max(sizes) - min(sizes) <= 2
    for share in shares:
        assert {n for topic, n in share if topic == "commands"} == {n for topic, n in share if topic == "results"}


def test_shares_are_kafkas() -> None:
    """As documented for RangeAssignor: in order of member, the first ones get one more."""
    subscribed = {1: ["t"], 2: ["t"], 3: ["t"]}
    shares = [sorted(number for _, number in range_share(subscribed, {"t": 7}, member)) for member in (1, 2, 3)]
    assert shares == [[0, 1, 2], [3, 4], [5, 6]]


def test_members_share_only_what_they_asked_for() -> None:
    """A topic is assigned among the members that subscribed to it."""
    subscribed = {1: ["a"], 2: ["a", "b"]}
    topics = {"a": 2, "b": 2}
    assert range_share(subscribed, topics, 1) == {("a", 0)}
    assert range_share(subscribed, topics, 2) == {("a", 1), ("b", 0), ("b", 1)}


def test_more_members_than_partitions() -> None:
    """The members beyond the last partition get nothing."""
    subscribed = {member: ["t"] for member in range(5)}
    assert [len(range_share(subscribed, {"t": 2}, member)) for member in range(5)] == [1, 1, 0, 0, 0]
