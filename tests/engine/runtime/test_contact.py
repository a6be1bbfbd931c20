"""Tests of Contact: whether a processor may serve its stores."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.engine.runtime.contact import Contact
from penstock.schemas.errors import LogUnavailable

SESSION_S = 3.0


class _Group:
    """Log, member and clock in one."""

    session_timeout_s = SESSION_S
    name = "one"

    def __init__(self) -> None:
        self.now_s, self.looks = 100.0, 0
        self.present: frozenset[str] | None = frozenset({"one", "two"})

    def members(self, group: str) -> frozenset[str]:
        assert group == "processors"
        self.looks += 1
        if self.present is None:
            raise LogUnavailable("away")
        return self.present


def _contact() -> tuple[_Group, Contact]:
    group: Any = _Group()
    return group, Contact(group, "processors", group, lambda: float(group.now_s))


def test_a_member_that_polls_is_not_doubted() -> None:
    """While polls follow each other within half a session, the log is not asked."""
    group, contact = _contact()
    for _ in range(10):
        group.now_s += SESSION_S / 2 - 0.1
        contact.polled()
        assert contact.holds()
    assert group.looks == 0


@pytest.mark.parametrize("polls_first", [False, True])
def test_a_member_that_was_frozen_is_doubted(polls_first: bool) -> None:
    """After a pause of half a session the group decides, also if a poll came first: it may have brought no news yet."""
    group, contact = _contact()
    group.now_s += SESSION_S / 2
    group.present = frozenset({"two"})
    if polls_first:
        contact.polled()
    assert not contact.holds()
    contact.polled()
    assert not contact.holds()
    assert group.looks == 2


def test_a_member_that_was_busy_is_trusted_again() -> None:
    """A member that is still in its group after a pause is not doubted any more once it polls."""
    group, contact = _contact()
    group.now_s += 5 * SESSION_S
    assert contact.holds()
    assert contact.holds()
    assert group.looks == 2, "it does not poll yet"
    contact.polled()
    assert contact.holds()
    contact.polled()
    assert contact.holds()
    assert group.looks == 3


def test_a_log_that_is_away_confirms_nothing() -> None:
    """If the log cannot be asked, a member in doubt serves nothing."""
    group, contact = _contact()
    group.now_s += SESSION_S
    group.present = None
    assert not contact.holds()
    group.present = frozenset({"one"})
    assert contact.holds()
