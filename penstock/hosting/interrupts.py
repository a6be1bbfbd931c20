"""Handling of Ctrl-C: an interrupted command ends with exit code 130 and without a traceback.

Before a command begins and after it has ended, an interrupt ends the process at once: a KeyboardInterrupt would show
as a traceback from some import. In between it is a KeyboardInterrupt, which `guarded` (cli/exit_codes.py) and asyncio
handle. User code that is imported may swallow it, so `reraised` raises it again. Where SIGINT is ignored, it stays
ignored.

This module imports no other module of Penstock, since it is loaded first.
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


def exit_immediately() -> None:
    """Let interrupts end the process, before a command begins and after it has ended."""
    _set_handler(_exit_now)


def raise_keyboard_interrupt() -> None:
    """Let interrupts raise KeyboardInterrupt."""
    _set_handler(signal.default_int_handler)


def block() -> None:
    """Keep interrupts pending, also for a program that replaces this process by exec."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def unblock() -> None:
    """Deliver interrupts again, first the pending one."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextlib.contextmanager
def reraised() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end of the block if an interrupt arrived in it, even if code swallowed it.

    A second interrupt ends the process.
    """
    received = False

    def handle(number: int, frame: Any) -> None:
        nonlocal received
        if received:
            _exit_now(number, frame)
        received = True
        raise KeyboardInterrupt

    _set_handler(handle)
    try:
        yield
    finally:
        raise_keyboard_interrupt()
        if received:
            raise KeyboardInterrupt


def _set_handler(handler: _Handler) -> None:
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None):
        signal.signal(signal.SIGINT, handler)


def _exit_now(number: int, frame: Any) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"\npenstock: interrupted\n")  # on a new line, as click does: the terminal shows ^C
    os._exit(INTERRUPTED)
