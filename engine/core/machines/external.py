"""What workflow code sends out: signals and cancellations to other runs, records to topics of its users."""

from __future__ import annotations

from typing import Any

from penstock.engine.core.machine import Cause, Effects, EventRule, Machine, Table, advance, derived_id
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.external import ExternalCancelRequested, ExternalSignalSent, RecordPublished
from penstock.schemas.records.run import CancelWorkflow
from penstock.schemas.records.signal import SignalWorkflow

ABSENT, SENT = "absent", "sent"

TRANSITIONS: Table = {
    (ABSENT, ExternalSignalSent): SENT,
    (ABSENT, ExternalCancelRequested): SENT,
    (ABSENT, RecordPublished): SENT,
}


def _on_sent(run: WorkingRun, event: Any, cause: Cause) -> None:
    advance(TRANSITIONS, ABSENT, event, run.workflow_id)


def _send_signal(found: Effects, run: WorkingRun, event: ExternalSignalSent, shard: int) -> None:
    found.commands.append(
        SignalWorkflow(
            workflow_id=event.workflow_id,
            signal=event.signal,
            input=event.input,
            run_id=event.run_id,
            message_id=derived_id(run, event.sequence, "signal"),
        )
    )


def _send_cancel(found: Effects, run: WorkingRun, event: ExternalCancelRequested, shard: int) -> None:
    found.commands.append(
        CancelWorkflow(
            workflow_id=event.workflow_id,
            reason=event.reason,
            run_id=event.run_id,
            message_id=derived_id(run, event.sequence, "cancel"),
        )
    )


def _publish(found: Effects, run: WorkingRun, event: RecordPublished, shard: int) -> None:
    found.published.append(event)


MACHINE = Machine(
    name="external",
    transitions=TRANSITIONS,
    inputs={},
    events={
        ExternalSignalSent: EventRule(
            evolve=_on_sent,
            effects=_send_signal,
            is_request=True,
            subject=lambda event: f"{event.workflow_id} {event.signal}",
            payload=lambda event: event.input,
            group=lambda event: event.signal,
        ),
        ExternalCancelRequested: EventRule(
            evolve=_on_sent, effects=_send_cancel, is_request=True, subject=lambda event: event.workflow_id
        ),
        RecordPublished: EventRule(
            evolve=_on_sent,
            effects=_publish,
            is_request=True,
            subject=lambda event: event.topic,
            payload=lambda event: b"" if event.deletes else event.value,
        ),
    },
)
