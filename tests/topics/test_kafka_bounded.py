"""Tests of bounded calls of librdkafka."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from penstock.topics.kafka.bounded import Bounded
from tests.contract.log_tools import WAIT_S

SOON_S = 0.02


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    """Event that late steps wait for; set at the end, so that all threads end."""
    event = threading.Event()
    yield event
    event.set()


class _Client:
    """Object used by a step, whose call waits for the event."""

    def __init__(self, go_on: threading.Event) -> None:
        self._go_on = go_on

    def wait(self) -> None:
        assert self._go_on.wait(WAIT_S)


def _is_forgotten(held: weakref.ref[_Client]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while held() is not None and time.monotonic() < deadline:
        time.sleep(SOON_S)
    return held() is None


def test_a_call_gives_what_its_step_gives() -> None:
    """A step that ends in time returns its result or raises its exception."""
    bounded = Bounded("test")
    assert bounded.call(lambda: 7, WAIT_S) == 7
    with pytest.raises(ZeroDivisionError):
        bounded.call(lambda: 1 // 0, WAIT_S)
    with pytest.raises(ZeroDivisionError):
        bounded.end(lambda: 1 // 0, WAIT_S)


def test_a_step_without_a_prospect_is_given_up(go_on: threading.Event) -> None:
    """The wait for a step ends as soon as there is no use in it, long before its timeout."""
    looks = iter([False, False, True])
    bounded = Bounded("test")
    with pytest.raises(TimeoutError):
        bounded.call(_Client(go_on).wait, WAIT_S, lambda: next(looks), SOON_S)
    assert list(looks) == []
    assert not bounded.is_free(0.0)


def test_a_step_that_ends_between_looks_gives_what_it_gives() -> None:
    """A step that is looked after returns its result, or raises its exception, though that is a TimeoutError."""
    bounded = Bounded("test")
    assert bounded.call(lambda: time.sleep(3 * SOON_S) or 7, WAIT_S, lambda: False, SOON_S) == 7
    with pytest.raises(ZeroDivisionError):
        bounded.call(lambda: 1 // 0, WAIT_S, lambda: False, SOON_S)


def test_while_a_step_is_late_no_other_is_begun(go_on: threading.Event) -> None:
    """A late step is TimeoutError, and so is every call until it has ended; then calls go on."""
    bounded, done = Bounded("test"), []
    with pytest.raises(TimeoutError):
        bounded.call(_Client(go_on).wait, SOON_S)
    with pytest.raises(TimeoutError):
        bounded.call(lambda: done.append("too early"), SOON_S)
    assert not bounded.is_free(0.0)
    go_on.set()
    assert bounded.is_free(WAIT_S)
    bounded.call(lambda: done.append("next"), WAIT_S)
    assert done == ["next"]


def test_the_end_comes_after_what_is_late(go_on: threading.Event) -> None:
    """`end` is TimeoutError while an earlier step is late, and is made all the same, once that has ended."""
    bounded, ended = Bounded("test"), threading.Event()
    with pytest.raises(TimeoutError):
        bounded.call(_Client(go_on).wait, SOON_S)
    with pytest.raises(TimeoutError):
        bounded.end(ended.set, SOON_S)
    go_on.set()
    assert ended.wait(WAIT_S)


def test_an_abandoned_step_goes_with_what_it_holds(go_on: threading.Event) -> None:
    """Once an abandoned step ends, nothing refers to its client any more, and its thread has ended."""
    bounded, client = Bounded("test-abandoned"), _Client(go_on)
    held = weakref.ref(client)
    with pytest.raises(TimeoutError):
        bounded.call(client.wait, SOON_S)
    bounded.abandon()
    del bounded, client
    assert held() is not None
    go_on.set()
    assert _is_forgotten(held)


@pytest.mark.parametrize("fails", [False, True])
def test_a_finished_step_is_forgotten(fails: bool) -> None:
    """Objects of a step are freed when it has returned or raised, without the garbage collector."""
    bounded, client = Bounded("test"), _Client(threading.Event())
    held = weakref.ref(client)

    def step(client: _Client = client) -> None:
        if fails:
            raise LookupError

    del client
    try:
        bounded.call(step, WAIT_S)
    except LookupError:
        assert fails
    del step
    assert _is_forgotten(held)
    bounded.abandon()
