"""Errors of workflow code that stand for bugs: which they are, and how they are reported."""

from __future__ import annotations

from penstock.engine.core.execution import CodeError
from penstock.schemas.errors import WorkflowError
from penstock.schemas.values.failure import Bounds, failure_of

Kinds = tuple[type[Exception], ...]

CODE_ERRORS: Kinds = (NameError, AttributeError, TypeError, ImportError, RecursionError)
"""Errors that stand for a bug in workflow code, unless `@workflow(blocks_on=…)` names others."""

# A header of a run holds the text, and every decision writes it.
_BOUNDS = Bounds(message_chars_max=500, traceback_chars_max=3_000, causes_max=8)


def bugs_in(error: BaseException, kinds: Kinds) -> list[BaseException]:
    """The error, or the members of a group (at any depth), that stand for bugs. A WorkflowError never does."""
    bugs: list[BaseException] = []
    waiting = [error] if kinds else []
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(one.exceptions)
        if isinstance(one, kinds) and not isinstance(one, WorkflowError):
            bugs.append(one)
    return bugs


def code_error(error: BaseException) -> CodeError:
    """The report of a bug: type and text on the first line, then the traceback, bounded. Reads source files."""
    failure = failure_of(error, bounds=_BOUNDS)
    return CodeError(f"{failure.type}: {' '.join(failure.message.split())}\n{failure.traceback}".rstrip())
