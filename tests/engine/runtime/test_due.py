"""Tests of the due timers of a shard."""

from __future__ import annotations

from penstock.engine.core.keys import TIMER_DUE, due_key
from penstock.engine.runtime.due import POSTPONED_MS, DueTimers
from penstock.engine.runtime.overlay import Overlay
from penstock.engine.store.memory import MemoryStore

NOW_MS = 1_700_000_000_000
KEY = due_key(NOW_MS, TIMER_DUE, "run-1", "r", 1)


EARLIER_MS = NOW_MS - 3_600_000
EARLIER = due_key(EARLIER_MS, TIMER_DUE, "run-1", "r", 2)


def due_timers() -> DueTimers:
    store = MemoryStore()
    store.write({KEY: b""})
    return DueTimers(Overlay(store))


def test_a_timer_that_begins_after_the_clock_was_set_back_is_found() -> None:
    """A timer that is added with an earlier due time than the last look at the index is taken when it is due."""
    store = MemoryStore()
    due = DueTimers(Overlay(store))
    assert due.first(NOW_MS) is None
    store.write({EARLIER: b""})
    due.note(EARLIER_MS)
    assert due.next_ms == EARLIER_MS
    assert [key for key, _ in due.take(EARLIER_MS)] == [EARLIER]


def test_a_postponed_timer_waits_a_minute() -> None:
    """A timer that was postponed is not taken before its minute is over, and then once."""
    due = due_timers()
    assert [key for key, _ in due.take(NOW_MS)] == [KEY]
    due.postpone(KEY, NOW_MS)
    due.note(NOW_MS)
    assert due.take(NOW_MS + POSTPONED_MS - 1) == []
    assert [key for key, _ in due.take(NOW_MS + POSTPONED_MS)] == [KEY]


def test_a_timer_that_was_put_back_is_taken_again() -> None:
    """A timer that was taken and not decided is the next one."""
    due = due_timers()
    due.put_back([key for key, _ in due.take(NOW_MS)])
    assert due.next_ms == NOW_MS
    assert [key for key, _ in due.take(NOW_MS)] == [KEY]
