"""Tests of Parts: answers that take several records."""

from __future__ import annotations

from penstock.client.parts import Parts
from penstock.schemas.records.replies import ReadAnswered


def _part(number: int, data: bytes, *, of: int = 3, message_id: str = "m") -> ReadAnswered:
    return ReadAnswered(message_id=message_id, workflow_id="w", shard=0, data=data, part=number, parts=of)


def test_parts_join() -> None:
    """The last part completes the answer; parts of other answers may lie in between."""
    parts = Parts()
    assert parts.joined(_part(1, b"a")) is None
    assert parts.joined(_part(1, b"x", of=2, message_id="other")) is None
    assert parts.joined(_part(2, b"b")) is None
    whole = parts.joined(_part(3, b"c"))
    assert whole is not None and whole.data == b"abc"
    other = parts.joined(_part(2, b"y", of=2, message_id="other"))
    assert other is not None and other.data == b"xy"


def test_a_missing_part() -> None:
    """An answer of which a part is missing is never complete."""
    parts = Parts()
    assert parts.joined(_part(1, b"a")) is None
    assert parts.joined(_part(3, b"c")) is None
    assert parts.joined(_part(2, b"b")) is None
    assert parts.joined(_part(2, b"b")) is None


def test_a_first_part_begins_anew() -> None:
    """A repeated answer replaces what had arrived of the one before."""
    parts = Parts()
    assert parts.joined(_part(1, b"old", of=2)) is None
    assert parts.joined(_part(1, b"a", of=2)) is None
    whole = parts.joined(_part(2, b"b", of=2))
    assert whole is not None and whole.data == b"ab"


def test_a_forgotten_answer() -> None:
    """Parts that follow after their caller has given up do not complete an answer."""
    parts = Parts()
    assert parts.joined(_part(1, b"a", of=2)) is None
    parts.forget("m")
    assert parts.joined(_part(2, b"b", of=2)) is None
