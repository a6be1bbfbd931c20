"""Bounds of an activity that the engine watches, beside its timeout and its retries."""

from __future__ import annotations

import msgspec

HEARTBEAT_BYTES_MAX = 64 * 1024
"""Details of a heartbeat (JSON): workers send, and shards take, no more."""


class ActivityBounds(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Options of an activity that few have. Times in milliseconds, 0 for none.

    `schedule_to_start_ms`: how long an attempt may wait in its queue; `schedule_to_close_ms`: the activity with all its
    attempts; `heartbeat_ms`: the longest silence of a running attempt. `jitter`: fraction by which the delay before an
    attempt is longer or shorter. `waits`: code that gives the activity up waits until the running attempt has ended.
    `timeouts_final`: no attempt follows one that timed out."""

    schedule_to_start_ms: int = 0
    schedule_to_close_ms: int = 0
    heartbeat_ms: int = 0
    jitter: float = 0.0
    waits: bool = False
    timeouts_final: bool = False

    @property
    def reports_start(self) -> bool:
        """Whether the worker reports the start of each attempt."""
        return bool(self.schedule_to_start_ms or self.heartbeat_ms)
