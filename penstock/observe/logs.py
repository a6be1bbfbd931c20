"""Logging through structlog: console or JSON lines on stderr.

Records of the standard library's `logging` (uvicorn, httpx, user code) are formatted alike. Code that works for one run
binds its id: `structlog.contextvars.bound_contextvars(workflow_id=…)`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from penstock.engine.execution.loop import WorkflowLoop

_LEVELS_LEAST = {"httpx": logging.WARNING, "httpcore": logging.WARNING, "uvicorn": logging.WARNING}


def configure(log_format: str = "console", log_level: str = "info", stream: TextIO | None = None) -> None:
    """Configure logging for this process; a second call replaces the first. `log_format`: `console` | `json`."""
    target = stream if stream is not None else sys.stderr
    level = logging.getLevelNamesMapping()[log_level.upper()]
    shared = _shared_processors()
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(log_format, target)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _LEVELS_LEAST.items():
        logging.getLogger(name).setLevel(max(level, least))
    _configure_structlog([*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter])


def route_to_logging() -> None:
    """Pass Penstock's log lines to the standard library's `logging`, unless structlog is configured already.

    For Penstock inside another program, which then decides whether and how lines appear; by default structlog would
    print them to its stdout.
    """
    if not structlog.is_configured():
        # One text without `extra`: keys such as `message` would clash with the attributes of a LogRecord.
        _configure_structlog(
            [bind_workflow, structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info, _as_text]
        )


def _configure_structlog(processors: list[Any]) -> None:
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *processors],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # loggers made at import time must follow a later `configure`
    )


def bind_workflow(_: Any, __: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add workflow id and run id to lines of workflow code; drop lines that a replay repeats."""
    loop = asyncio._get_running_loop()  # noqa: SLF001 - the public one raises without a loop
    if isinstance(loop, WorkflowLoop):
        if loop.owner.replaying:
            raise structlog.DropEvent
        event_dict.setdefault("workflow_id", loop.owner.workflow_id)
        event_dict.setdefault("run_id", loop.owner.run_id)
    return event_dict


def _shared_processors() -> list[Any]:
    return [
        bind_workflow,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _as_text(_: Any, __: str, event_dict: MutableMapping[str, Any]) -> str:
    """Format as `activity failed activity=charge attempt=1`, with a traceback below."""
    event, exception = event_dict.pop("event", ""), event_dict.pop("exception", None)
    line = " ".join([str(event), *(f"{name}={value!r}" for name, value in event_dict.items())])
    return f"{line}\n{exception}" if exception else line


def _renderers(log_format: str, target: TextIO) -> list[Any]:
    if log_format == "json":
        return [
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ]
    colours = target.isatty()
    return [structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)]
