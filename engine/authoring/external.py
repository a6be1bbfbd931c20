"""Signals and cancellations to other runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from penstock.engine.authoring.context import current
from penstock.engine.authoring.handlers import SignalMethod, encoded_signal
from penstock.engine.authoring.signal import Signal
from penstock.schemas.ids import check_signal_name, check_workflow_id
from penstock.schemas.records.external import ExternalCancelRequested, ExternalSignalSent
from penstock.schemas.values.payload import check_reason, check_size

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


class ExternalRun:
    """Another run, named by its workflow id: `run_id`, or the current run of the id (`run_id` empty)."""

    def __init__(self, workflow_id: str, run_id: str = "") -> None:
        self.workflow_id, self.run_id = check_workflow_id(workflow_id), run_id

    @property
    def id(self) -> str:
        """Its workflow id."""
        return self.workflow_id

    @overload
    def signal(self, signal: Signal[T] | str, value: T | None = None, /) -> None: ...
    @overload
    def signal(self, signal: SignalMethod[[], Any], /) -> None: ...
    @overload
    def signal(self, signal: SignalMethod[[A], Any], a: A, /) -> None: ...
    @overload
    def signal(self, signal: SignalMethod[[A, B], Any], a: A, b: B, /) -> None: ...
    @overload
    def signal(self, signal: SignalMethod[[A, B, C], Any], a: A, b: B, c: C, /) -> None: ...
    @overload
    def signal(self, signal: SignalMethod[[A, B, C, D], Any], a: A, b: B, c: C, d: D, /) -> None: ...
    def signal(self, signal: Any, /, *values: Any) -> None:
        """Send a signal when this decision commits. With a name, the value is encoded as plain JSON.

        Raises BadInput, BadName, PayloadTooLarge."""
        program = current("get_run().signal()")
        name, data = encoded_signal(signal, values)
        check_size(data, what=f"the value of signal {check_signal_name(name)}")
        sent = ExternalSignalSent(
            sequence=program.next_sequence(), workflow_id=self.workflow_id, signal=name, input=data, run_id=self.run_id
        )
        program.request(sent, _rewriting(signal))

    def cancel(self, reason: str = "") -> None:
        """Ask the run to stop when this decision commits. Raises PayloadTooLarge for a reason over 2,000 characters."""
        check_reason(reason)
        program = current("get_run().cancel()")
        program.request(
            ExternalCancelRequested(
                sequence=program.next_sequence(), workflow_id=self.workflow_id, reason=reason, run_id=self.run_id
            )
        )

    def __repr__(self) -> str:
        return f"<run {self.run_id or 'current'} of {self.workflow_id}>"


def get_run(workflow_id: str) -> ExternalRun:
    """A handle on another run. Raises BadName."""
    return ExternalRun(workflow_id)


def _rewriting(signal: Any) -> Callable[[bytes], bytes] | None:
    """What reads and writes a recorded value by the signal's type; None without a type."""
    if isinstance(signal, SignalMethod):
        return signal.signature.rewritten
    if isinstance(signal, Signal):
        return lambda data: signal.adapter.encode(signal.adapter.decode(data))
    return None
