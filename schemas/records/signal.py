"""Records of signals to a run."""

from __future__ import annotations

from penstock.schemas.records.kinds import Command, Event


class SignalWorkflow(Command, frozen=True, gc=False, kw_only=True):
    """Send a value to the run's signal of that name. Empty `run_id`: the current run."""

    signal: str
    input: bytes = b""
    run_id: str = ""


class SignalReceived(Event, frozen=True, gc=False, kw_only=True):
    """A signal arrived; the run keeps it until its code reads it."""

    signal: str
    input: bytes
    message_id: str = ""
