"""Program that knows which decision of its run raised each error that stands for a bug.

A bug that leaves the code in the activation that raised it drops this activation: mended code repeats it. Code that
awaits in between (in a `finally`, or by awaiting the failed task later) has made requests after the bug, which mended
code would not repeat. An exception does not say when it was raised, so the run is rebuilt once more under
`sys.settrace`, which sees every exception when it is raised, and marks it. That is slow, and used after a bug alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from penstock.engine.execution.program import Program
from penstock.schemas.records.kinds import Event

_MARK = "__penstock_raised__"


class ObservedProgram(Program):
    """A Program that is observed while its history is repeated and in the activation that follows, once."""

    _observes = True
    _first_event = 1  # of this activation: a suspended one goes on where it was, as code that waited does not

    def activate(self, inputs: Iterable[Event], now_ms: int) -> list[Any]:
        """As Program, under observation."""
        if not self._observes:
            return super().activate(inputs, now_ms)
        if not self.loop.ready:
            self._first_event = self.first_event
        is_last, before = not self.replaying, sys.gettrace()
        sys.settrace(self._trace)
        try:
            return super().activate(inputs, now_ms)
        finally:
            sys.settrace(before)
            self._observes = not is_last

    def raised_earlier(self, bugs: Iterable[BaseException]) -> int:
        """Number of the first event of the earlier decision that raised one of them; 0 if none did."""
        if not self._observes:
            return 0
        marks = [vars(bug).get(_MARK, (self, self.first_event)) for bug in bugs]
        return min((at for by, at in marks if by is self and at < self._first_event), default=0)

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any]:
        frame.f_trace_lines = False
        if event == "exception" and isinstance(arg[1], self.definition.blocks_on):
            marks = vars(arg[1])
            if marks.get(_MARK, (None,))[0] is not self:  # the same object may be raised in several runs
                marks[_MARK] = (self, self.first_event)
        return self._trace
