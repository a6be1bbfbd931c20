"""Logger of workflow code: a line is logged when it happens, not again on replay."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import structlog

from penstock.engine.execution import guards
from penstock.engine.execution.loop import WorkflowLoop
from penstock.engine.execution.program import Program

_logger = structlog.get_logger("penstock.workflow")


class Logger:
    """Logs through structlog, in a workflow with its `workflow_id` and `run_id`; elsewhere as any logger.

    In a workflow it logs nothing while a decision of the past is repeated, and never raises. A decision that is made
    again, since a processor died before it was committed, logs again."""

    def __init__(self, fields: Mapping[str, Any] | None = None) -> None:
        self._fields = dict(fields or {})

    def bind(self, **fields: Any) -> Logger:
        """A logger that adds these fields to each line."""
        return Logger({**self._fields, **fields})

    def debug(self, event: str, **fields: Any) -> None:
        """Log a line at level `debug`."""
        self._log("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log a line at level `info`."""
        self._log("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log a line at level `warning`."""
        self._log("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log a line at level `error`."""
        self._log("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Log a line at level `error`, with the traceback of the exception that is being handled."""
        self._log("error", event, {"exc_info": True, **fields})

    def _log(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        log = getattr(_logger, level)
        loop = asyncio._get_running_loop()  # noqa: SLF001 - the public one raises without a loop
        if not isinstance(loop, WorkflowLoop):
            log(event, **{**self._fields, **fields})
            return
        program = loop.owner
        assert isinstance(program, Program), "a workflow's loop belongs to a Program"
        if program.replaying or program.closing:
            return
        known = {"workflow_id": program.workflow_id, "run_id": program.run_id}
        # A line that cannot be written must not go another way than its replay, which writes none.
        with guards.allowed(), contextlib.suppress(Exception):
            log(event, **{**self._fields, **fields, **known})


logger = Logger()
