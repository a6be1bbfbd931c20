"""What a call asks for besides its input, before the engine records it as a request of a run."""

from __future__ import annotations

from typing import final

import msgspec

from penstock.schemas.values.bounds import ActivityBounds
from penstock.schemas.values.retry import RetryPolicy


@final
class ActivityRequest(msgspec.Struct, frozen=True, gc=False):
    """An activity with its options. `timeout_ms`: start-to-close, 0 for none. `bounds`: None without such options."""

    activity: str
    queue: str
    timeout_ms: int
    retry: RetryPolicy
    bounds: ActivityBounds | None = None


@final
class ChildRequest(msgspec.Struct, frozen=True, gc=False):
    """A workflow with its options. An empty `workflow_id` is chosen by the engine. Timeouts: 0 for none.

    `parent_close`, `awaits_start`, `memo`, `search`, `version`: as in ChildScheduled."""

    workflow_type: str
    workflow_id: str = ""
    run_timeout_ms: int = 0
    execution_timeout_ms: int = 0
    retry: RetryPolicy | None = None
    parent_close: str = ""
    awaits_start: bool = False
    memo: bytes = b""
    search: bytes = b""
    version: int = 0
