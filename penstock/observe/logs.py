"""What do log lines look like, and where do they go? Through structlog to stderr: for people, or as JSON when asked.

Lines of the standard library's `logging` (uvicorn, httpx, users' own) take the same way. Whoever works for one run
binds it: `structlog.contextvars.bound_contextvars(workflow_id=…)`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from penstock.engine.execution.loop import WorkflowLoop

_LOUD = {"httpx": logging.WARNING, "httpcore": logging.WARNING, "uvicorn": logging.WARNING}


def configure(log_format: str = "console", log_level: str = "info", stream: TextIO | None = None) -> None:
    """Set logging up for this process; a second call replaces the first. `log_format`: `console` | `json`."""
    target = stream if stream is not None else sys.stderr
    level = logging.getLevelNamesMapping()[log_level.upper()]
    shared = _shared_processors()
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(log_format, target)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _LOUD.items():
        logging.getLogger(name).setLevel(max(level, least))
    _through_logging([*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter])


def route_to_logging() -> None:
    """Hand Penstock's lines to the standard library's `logging`, unless structlog was set up already.

    For Penstock inside somebody else's program: whether and how they appear is then that program's choice, and nothing
    is printed to its stdout, as structlog would by default.
    """
    if not structlog.is_configured():
        # One text, with no `extra`: facts such as `message` would clash with the attributes of a LogRecord.
        _through_logging(
            [of_workflow, structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info, _as_text]
        )


def _through_logging(processors: list[Any]) -> None:
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *processors],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # loggers made at import time must follow a later call of configure
    )


def of_workflow(_: Any, __: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Bind a line of workflow code to its run; when the code only repeats its past, the line was written before."""
    loop = asyncio._get_running_loop()  # noqa: SLF001 - the public one raises where there is none
    if isinstance(loop, WorkflowLoop):
        if loop.owner.replaying:
            raise structlog.DropEvent
        facts.setdefault("workflow_id", loop.owner.workflow_id)
        facts.setdefault("run_id", loop.owner.run_id)
    return facts


def _shared_processors() -> list[Any]:
    return [
        of_workflow,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _as_text(_: Any, __: str, facts: MutableMapping[str, Any]) -> str:
    """`activity failed activity=charge attempt=1`, and a traceback below."""
    event, exception = facts.pop("event", ""), facts.pop("exception", None)
    said = " ".join([str(event), *(f"{name}={value!r}" for name, value in facts.items())])
    return f"{said}\n{exception}" if exception else said


def _rendering(log_format: str, target: TextIO) -> list[Any]:
    if log_format == "json":
        return [
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ]
    colours = target.isatty()
    return [structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)]
