"""Tests of Troubles: what lasts is raised again each minute, and its partitions are assigned again."""

from __future__ import annotations

import pytest

from penstock.schemas.errors import LogUnavailable, OffsetOutOfRange
from penstock.topics.kafka import troubles
from penstock.topics.kafka.troubles import REPEAT_S, Troubles


class Clock:
    """A clock that a test sets."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the module."""
    made = Clock()
    monkeypatch.setattr(troubles, "time", made)
    return made


def test_an_error_is_raised_once_a_minute(clock: Clock) -> None:
    """The same sentence is raised at once and then once a minute; another sentence is not kept back."""
    made, failure, other = Troubles(), LogUnavailable("t[0]"), LogUnavailable("t[1]")
    assert made.to_raise(failure) is failure
    clock.now_s += REPEAT_S - 1
    assert made.to_raise(failure) is None
    assert made.to_raise(other) is other
    clock.now_s += 1
    assert made.to_raise(failure) is failure


def test_partitions_are_assigned_again_while_an_error_lasts(clock: Clock) -> None:
    """A minute after an error the partitions are due for another assignment, once for each report."""
    made = Troubles()
    assert not made.is_due()
    made.to_raise(LogUnavailable("t[0]"))
    assert not made.is_due()
    clock.now_s += REPEAT_S
    assert [made.is_due(), made.is_due()] == [True, False]
    made.to_raise(LogUnavailable("t[0]"))
    clock.now_s += REPEAT_S
    assert made.is_due()


def test_other_failures_are_raised_each_time(clock: Clock) -> None:
    """A failure that the caller resolves is never kept back, and assigns nothing again."""
    made, failure = Troubles(), OffsetOutOfRange("t[0]@7")
    assert [made.to_raise(failure), made.to_raise(failure), made.to_raise(None)] == [failure, failure, None]
    clock.now_s += REPEAT_S
    assert not made.is_due()
