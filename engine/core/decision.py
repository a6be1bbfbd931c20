"""What came of one input? Events to record, an answer to who asked, or the reason why nothing happened."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.schemas.records.replies import Reply


class FireTimer(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A timer of workflow code is due: the shard's own order, from its timer index."""

    workflow_id: str
    run_id: str
    sequence: int


class RetryActivity(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A failed attempt has waited long enough: the shard's own order, from its timer index."""

    workflow_id: str
    run_id: str
    sequence: int


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """Why an input was refused. `keep`: if nobody asked, it goes to `dead-letters`."""

    reason: str
    message: str
    run_id: str = ""
    keep: bool = True


class Decision(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one input caused in one run. `run_id` is the run's; `events` number on from its history unless `ignored`
    says why there was no effect (or only an unnumbered one)."""

    run_id: str
    events: list[Any] = []
    ignored: str = ""
    reply: Reply | None = None
    rejection: Rejection | None = None
    unnumbered: bool = False
