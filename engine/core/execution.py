"""Protocol between the core and what executes workflows: inputs and a time in, requests out.

engine/execution implements it for coroutines. The core knows nothing of Python code: it hands events to an `Execution`
and records the requests that come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from penstock.schemas.errors import NonDeterminism
from penstock.schemas.records.decisions import DecisionRecorded, Listening
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.run import WorkflowStarted
from penstock.schemas.records.update import UpdateHeld


class CodeWithheld(Exception):
    """The run's code is not executed for this input, which has ended processors before."""


class ActivationOverran(SystemExit):
    """An activation ran for too long without a wait and was interrupted; its requests are dropped.

    A SystemExit, so that it passes through `except Exception` in workflow code, and through asyncio's tasks."""


class OtherPython(NonDeterminism):
    """A replay under another minor version of Python than the run's start requested something else."""


class CodeError(Exception):
    """Workflow code ended with an error that stands for a bug. Its text is the error's, with the traceback.

    The activation counts for nothing: the requests that it made are dropped."""


class UnknownHandler(Exception):
    """The code has no handler of that name. Its text names those that it has."""


class Receiver(Protocol):
    """Ways in which an event reaches an execution; the machines call them (`EventRule.deliver`)."""

    def start(self, event: WorkflowStarted) -> None:
        """Start with this input. Raises NonDeterminism if the code cannot take it."""
        ...

    def begin(self) -> None:
        """The delay of its start is over."""
        ...

    def fork(self, run_id: str, seed: str) -> None:
        """It goes on as the run `run_id`, whose seed is another one."""
        ...

    def resolve(self, sequence: int, value: bytes) -> None:
        """Request `sequence` has this result (JSON)."""
        ...

    def reject(self, sequence: int, error: Exception) -> None:
        """Request `sequence` failed."""
        ...

    def child_started(self, sequence: int, run_id: str) -> None:
        """The child of request `sequence`, whose start is awaited, has started as that run."""
        ...

    def fire(self, sequence: int) -> None:
        """Timer `sequence` is due."""
        ...

    def signal(self, name: str, value: bytes) -> None:
        """A signal arrived."""
        ...

    def cancel(self, reason: str) -> None:
        """The run is asked to stop."""
        ...

    def update(self, message_id: str, name: str, value: bytes) -> None:
        """An update was accepted."""
        ...

    def hold(self, event: UpdateHeld) -> None:
        """An update waits for its handler."""
        ...


class Execution(Protocol):
    """One run between two inputs. Used by one thread at a time."""

    def activate(self, inputs: Iterable[Event], now_ms: int) -> list[Event]:
        """Deliver inputs at that time (epoch) and return the requests made until the execution waits again.

        Raises CodeError, after which the execution is closed. It may have been raised for an error of an earlier
        activation; an `observed` one (see Definition.rebuild) raises it for errors of this activation alone."""
        ...

    def listening(self) -> Listening | None:
        """Signals and conditions it waits for, and what it answers; None for none."""
        ...

    def unread(self) -> list[Event]:
        """Signals that the code has not read, and updates that wait for a handler, as events that deliver them again.

        Of an execution that has ended, too."""
        ...

    def answer(self, query: str, input: bytes) -> bytes:
        """The answer (JSON) of a query's handler to an input (JSON). Makes no request.

        Raises UnknownHandler, BadInput, and whatever the handler raises; the execution may be changed then."""
        ...

    def check_signal(self, signal: str, input: bytes) -> None:
        """Raise BadInput if it has a handler for this signal that does not take the value (JSON). Makes no request."""
        ...

    def check_update(self, update: str, input: bytes) -> bool:
        """Whether it has a handler for this update now. Makes no request.

        Raises UnknownHandler if it never has one, BadInput, and whatever the update's validator raises; the execution
        may be changed then."""
        ...

    def size(self) -> int:
        """Estimate of its memory in bytes; called after each decision."""
        ...

    def measured_size(self) -> int:
        """As `size`, but more exact where that is worth the time; called before it would be evicted."""
        ...

    def close(self) -> None:
        """Discard it. It makes no request any more and can be rebuilt from history."""
        ...


class InputDifference(msgspec.Struct, frozen=True):
    """A request whose input differs from the recorded one. `request`: its kind and subject, e.g. `activity charge`."""

    workflow_type: str
    request: str
    sequence: int
    recorded: bytes
    asked: bytes


class Rebuilt(msgspec.Struct, frozen=True):
    """An execution at the end of its history.

    `unread`: inputs recorded while the run was BLOCKED or paused, not delivered yet. `differences`: requests whose
    inputs the code now makes differently."""

    execution: Execution
    unread: list[Event]
    differences: Sequence[InputDifference] = ()


class Definition(Protocol):
    """A hosted workflow type."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def closed_kept_ms(self) -> int:
        """How long its closed runs are kept; 0 for as long as the processors' setting says."""
        ...

    @property
    def closed_kept_by_status(self) -> Mapping[str, int]:
        """As `closed_kept_ms`, of those that close with that status."""
        ...

    @property
    def handlers(self) -> Mapping[str, Sequence[str]]:
        """Names of the `signals`, `queries` and `updates` that every run of it answers."""
        ...

    def check_input(self, data: bytes) -> None:
        """Raise what the type's own validation raises for an input (JSON) that it cannot take."""
        ...

    def canonical_input(self, data: bytes) -> bytes:
        """An input as the type itself writes it, defaults included. Raises as `check_input` does."""
        ...

    def begin(self, workflow_id: str, run_id: str, seed: str) -> Execution:
        """The execution of a new run, which has received nothing yet."""
        ...

    def rebuild(
        self,
        workflow_id: str,
        run_id: str,
        records: Iterable[DecisionRecorded],
        *,
        strict_inputs: bool,
        observed: bool = False,
    ) -> Rebuilt:
        """Repeat a run's history, in order. Raises NonDeterminism, CodeError.

        `strict_inputs`: any difference between a recorded input and the one that the code makes is an error.
        `observed`: the execution knows which decision raised each error, up to the end of its next activation; slow."""
        ...
