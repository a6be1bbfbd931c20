"""Events of commands that come before the start of their run."""

from __future__ import annotations

from penstock.schemas.records.kinds import Event


class CommandKept(Event, frozen=True, gc=False, kw_only=True):
    """A signal, or a request to stop, came for an id without a run, and is kept until `until_ms` (epoch): a start that
    a producer put on another shard may still be on its way.

    `signal` and `input` are those of SignalWorkflow, `reason` that of CancelWorkflow (`signal` is empty then);
    `partition`, `offset`, `key` and `value` those of the record. On the topic `events` alone: it takes no number in a
    history."""

    message_id: str
    until_ms: int
    partition: int
    offset: int
    key: bytes
    value: bytes
    signal: str = ""
    input: bytes = b""
    reason: str = ""


class CommandTaken(Event, frozen=True, gc=False, kw_only=True):
    """A command that was kept reaches the run, which starts now. `offset`, `message_id`: as in CommandKept."""

    offset: int
    message_id: str


class CommandGivenUp(Event, frozen=True, gc=False, kw_only=True):
    """No run took a command that was kept, in the time for which it was. `offset`: as in CommandKept.

    On the topic `events` alone: it takes no number in a history."""

    offset: int
