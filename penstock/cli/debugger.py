"""pdb for code that a replay runs: it stops at the first line of the run's code."""

from __future__ import annotations

import pdb  # noqa: T100 - the debugger is what this is for
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from penstock.schemas.values.functions import code_of

T = TypeVar("T")


class Debugger(pdb.Pdb):
    """pdb that runs to the first line of a function. `has_quit`: whether its user has quit."""

    has_quit = False

    def call(self, work: Callable[[], T], function: Callable[..., Any]) -> T:
        """Call `work` under the debugger; the first stop is in the body of `function`.

        Raises SystemExit(0) once the user has quit, and what `work` raises."""
        code = code_of(function)
        first = min((line for *_, line in code.co_lines() if line and line > code.co_firstlineno), default=0)
        self.reset()
        self.botframe = sys._getframe()  # noqa: SLF001 - as bdb's own `runcall` sets it, but without stopping here
        self.set_break(code.co_filename, first or code.co_firstlineno, temporary=True)
        self.set_continue()
        sys.settrace(self.trace_dispatch)
        try:
            return work()
        except BaseException:
            if self.has_quit:
                raise SystemExit(0) from None
            raise
        finally:
            sys.settrace(None)

    def set_quit(self) -> None:
        """Note that the user quits; bdb then raises BdbQuit in the code, which may catch it as any other error."""
        self.has_quit = True
        super().set_quit()
