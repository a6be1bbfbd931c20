"""Exit codes of commands, and error messages on stderr."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

import click

from penstock.cli.escape import escaped
from penstock.client.dead_letters import LetterNotFound
from penstock.hosting.interrupts import INTERRUPTED
from penstock.schemas.errors import (
    CommandRejected,
    LogError,
    NotAnswered,
    PenstockError,
    ScheduleNotFound,
    StillRunning,
    StopTimedOut,
    StoreError,
    UserError,
    WorkflowNotFound,
)

FAILED, USAGE, UNREACHABLE, NOT_FOUND, STILL_RUNNING, BUG = 1, 2, 3, 4, 5, 70

EPILOG = """\b
Exit codes:
  0    done; also if `start` joined the id's run, even one with another input (a line on stderr says so)
  1    the run failed, was cancelled or terminated, or a command was refused (an id taken by another workflow type);
       `replay` found a run that differs
  2    invalid option, setting, input or module
  3    the log, its topics, the local state or a processor cannot be reached, or a stop was not orderly
  4    no such workflow, schedule or dead letter
  5    the run had not closed when --timeout ended
  70   a bug in Penstock
  130  interrupted

\b
Settings: flags, then the environment (PENSTOCK_LOG, PENSTOCK_NAMESPACE, …), then [tool.penstock] in
./pyproject.toml, then defaults. Global flags may be given before or after the verb.
"""

# The first class that matches decides.
_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (WorkflowNotFound, NOT_FOUND),
    (ScheduleNotFound, NOT_FOUND),
    (LetterNotFound, NOT_FOUND),
    (CommandRejected, FAILED),
    (StillRunning, STILL_RUNNING),
    (NotAnswered, UNREACHABLE),
    (UserError, USAGE),
    (LogError, UNREACHABLE),
    (StoreError, UNREACHABLE),
    (StopTimedOut, UNREACHABLE),
    (PenstockError, FAILED),
)


def guarded(work: Callable[[], object], *, debug: Callable[[], bool]) -> int:
    """Run a command and return its exit code; every failure is reported on stderr."""
    try:
        code = work()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("penstock: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has closed it, as in `penstock list | head`
        sys.stderr.close()
        return 0
    except PenstockError as error:
        print_error(str(error))
        if debug():
            traceback.print_exc()
        return code_of(error)
    except BaseExceptionGroup as group:
        only = _only_error(group)
        return guarded(lambda: _raise(only), debug=debug) if only is not group else _bug(group, show=True)
    except Exception as error:
        return _bug(error, show=debug())


def code_of(error: BaseException) -> int:
    """Return the exit code for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), BUG)


def print_error(message: str) -> None:
    """Print a message to stderr on one line."""
    click.echo(f"penstock: {escaped(' '.join(message.split()))}", err=True)


def _bug(error: BaseException, *, show: bool) -> int:
    hint = "" if show else "; run again with --debug for the traceback"
    print_error(f"this is a bug in Penstock: {type(error).__name__}: {error}{hint}.")
    if show:
        traceback.print_exception(error)
    return BUG


def _only_error(error: BaseException) -> BaseException:
    """Unwrap nested groups of one error."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _raise(error: BaseException) -> None:
    raise error
