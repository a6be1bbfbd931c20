"""Signals and cancellations to other runs."""

from __future__ import annotations

from typing import TypeVar

from penstock.engine.authoring.context import current
from penstock.engine.authoring.signal import Signal
from penstock.schemas.ids import check_workflow_id
from penstock.schemas.records.external import ExternalCancelRequested, ExternalSignalSent
from penstock.schemas.values.payload import check_reason, check_size

T = TypeVar("T")


class ExternalRun:
    """Another run, named by its workflow id."""

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = check_workflow_id(workflow_id)

    def signal(self, signal: Signal[T], value: T) -> None:
        """Send a signal when this decision commits. Raises BadInput, PayloadTooLarge."""
        program = current("get_run().signal()")
        data = signal.adapter.encode(value)
        check_size(data, what=f"the value of signal {signal.name}")
        sent = ExternalSignalSent(
            sequence=program.next_sequence(),
            workflow_id=self.workflow_id,
            signal=signal.name,
            input=data,
        )
        program.request(sent, lambda data: signal.adapter.encode(signal.adapter.decode(data)))

    def cancel(self, reason: str = "") -> None:
        """Ask the run to stop when this decision commits. Raises PayloadTooLarge for a reason over 2,000 characters."""
        check_reason(reason)
        program = current("get_run().cancel()")
        program.request(
            ExternalCancelRequested(sequence=program.next_sequence(), workflow_id=self.workflow_id, reason=reason)
        )


def get_run(workflow_id: str) -> ExternalRun:
    """A handle on another run. Raises BadName."""
    return ExternalRun(workflow_id)
