"""What does Ctrl-C do to a command, and when? It ends it quietly with exit code 130, at whatever moment it comes.

While nothing was begun yet, or all is over, it ends the process on the spot: a KeyboardInterrupt there would show as a
traceback out of some import. In between it is Python's own, which `guarded` (cli/exits.py) and asyncio know. What
imported code does with one is its own affair, so `insistent` remembers it. Where SIGINT is ignored, it stays ignored.

Imports nothing of ours, since it has to be there first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

INTERRUPTED = 130

_Handler = Callable[[int, Any], Any]


def end_at_once() -> None:
    """From now on an interrupt ends the process: nothing was begun yet, or all is over."""
    _handle(_end)


def raise_them() -> None:
    """From now on an interrupt is a KeyboardInterrupt."""
    _handle(signal.default_int_handler)


def hold_back() -> None:
    """Let interrupts wait, also for a program that takes this process over by exec."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def let_in() -> None:
    """Let interrupts in again, first the one that waits."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextlib.contextmanager
def insistent() -> Iterator[None]:
    """A block that ends in KeyboardInterrupt if an interrupt came, though code in it swallows it or makes another error
    of it. A second interrupt ends the process."""
    came = False

    def note(number: int, frame: Any) -> None:
        nonlocal came
        if came:
            _end(number, frame)
        came = True
        raise KeyboardInterrupt

    _handle(note)
    try:
        yield
    finally:
        raise_them()
        if came:
            raise KeyboardInterrupt


def _handle(handler: _Handler) -> None:
    ours_to_set = threading.current_thread() is threading.main_thread()
    if ours_to_set and signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None):
        signal.signal(signal.SIGINT, handler)


def _end(number: int, frame: Any) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"\npenstock: interrupted\n")  # as click has it: a terminal shows ^C before
    os._exit(INTERRUPTED)
