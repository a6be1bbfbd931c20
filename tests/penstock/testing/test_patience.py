"""Tests of the limit for waiting on activity attempts."""

import pytest

from penstock.engine.runtime.reads import Attempt
from penstock.testing import patience as patience_module
from penstock.testing.patience import ATTEMPT_AWAITED_S, Patience

FIRST, SECOND = Attempt("a", "r", 1, 1), Attempt("b", "r", 1, 1)


@pytest.fixture
def now_s(monkeypatch):
    """The time that Patience reads, as a list of one number."""
    now = [100.0]
    monkeypatch.setattr(patience_module.time, "monotonic", lambda: now[0])
    return now


def test_no_attempts(now_s):
    """Without attempts nothing is awaited."""
    assert Patience().is_over(frozenset())


def test_a_long_attempt(now_s):
    """An attempt is awaited for a second after it was first seen, and not again after it was given up."""
    patience, attempts = Patience(), frozenset({FIRST})
    assert not patience.is_over(attempts)
    now_s[0] += ATTEMPT_AWAITED_S - 0.1
    assert not patience.is_over(attempts)
    now_s[0] += 0.1
    assert patience.is_over(attempts)
    assert patience.is_over(attempts)


def test_an_attempt_after_another(now_s):
    """After another attempt ended, the remaining one is awaited for another second."""
    patience = Patience()
    assert not patience.is_over(frozenset({FIRST, SECOND}))
    now_s[0] += ATTEMPT_AWAITED_S - 0.1
    assert not patience.is_over(frozenset({SECOND}))
    now_s[0] += ATTEMPT_AWAITED_S - 0.1
    assert not patience.is_over(frozenset({SECOND}))
    now_s[0] += 0.2
    assert patience.is_over(frozenset({SECOND}))
