"""Errors of a run's tasks that no code received, as log lines: what asyncio logs as never retrieved."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import structlog

logger = structlog.get_logger(__name__)

ERRORS_LOGGED_MAX = 10
"""Errors of one activation that are logged with their tracebacks."""

UNRETRIEVED = "a background task of the workflow failed, and no code received its error"


def log_unretrieved(failed: Sequence[tuple[str, BaseException]], workflow_id: str, run_id: str) -> None:
    """Log names and errors of failed tasks. Formats tracebacks, so not to be called within workflow code."""
    for name, error in failed[:ERRORS_LOGGED_MAX]:
        with contextlib.suppress(Exception):  # a log line that cannot be written must not cost a decision
            logger.error(UNRETRIEVED, workflow_id=workflow_id, run_id=run_id, task=name, exc_info=error)
    if len(failed) > ERRORS_LOGGED_MAX:
        more = len(failed) - ERRORS_LOGGED_MAX
        logger.error("more background tasks failed", workflow_id=workflow_id, run_id=run_id, count=more)
