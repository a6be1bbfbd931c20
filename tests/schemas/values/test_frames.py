"""Places of running code (schemas/values/frames.py)."""

from __future__ import annotations

import threading

from penstock.schemas.values.frames import called_by, frame_of, place


def test_the_place_of_another_thread_is_the_user_s_line() -> None:
    """The place is the innermost line outside of libraries that the given code called."""
    entered, release = threading.Event(), threading.Event()

    def outer() -> None:
        inner()

    def inner() -> None:
        entered.set()
        release.wait(20)

    thread = threading.Thread(target=outer)
    thread.start()
    entered.wait(20)
    innermost = frame_of(thread.ident or 0)
    caller = called_by(outer.__code__, innermost)
    release.set()
    thread.join()
    assert caller is not None
    assert place(innermost, caller).endswith("inner")
    assert place(caller, caller).endswith("outer")


def test_a_thread_that_has_ended_has_no_place() -> None:
    """Without a frame there is nothing to name."""
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert frame_of(thread.ident or 0) is None
    assert called_by(test_a_thread_that_has_ended_has_no_place.__code__, None) is None
    assert place(None, None) == "an unknown line"
