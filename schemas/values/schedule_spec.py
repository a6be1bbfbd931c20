"""When a schedule starts runs, as records hold it."""

from __future__ import annotations

import msgspec

DAY_MS = 86_400_000

CATCH_UP_MS = 365 * DAY_MS
"""Age up to which a tick that no processor decided in time is made up for, by default."""

OVERLAPS = ("skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all")
"""What a tick does while a run of the schedule is open."""


class ScheduleSpec(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """When a schedule starts runs: the ticks of all of `cron`, `calendar` and `every_ms` together.

    `cron`: expressions of five fields. `calendar`: texts of six fields (minute, hour, day of the month, month, weekday,
    year) that must all match. `every_ms`: an interval of elapsed time, counted from `start_ms`, or from the epoch.
    `timezone`: IANA name, for `cron` and `calendar`. `start_ms`, `end_ms`: no tick before and after (epoch, 0: none).
    `jitter_ms`: a run starts up to so long after its tick. `overlap`, while a run of the schedule is open: `skip` the
    tick; `buffer_one` lets one tick wait, `buffer_all` each; `cancel_other` and `terminate_other` end the open run,
    then start; `allow_all` starts at once. `catch_up_ms`: age up to which a tick that no processor decided in time is
    made up for. `remaining`: number of ticks to take, -1 for all. `pause_on_failure`: pause when a run fails."""

    cron: tuple[str, ...] = ()
    calendar: tuple[str, ...] = ()
    every_ms: int = 0
    timezone: str = "UTC"
    start_ms: int = 0
    end_ms: int = 0
    jitter_ms: int = 0
    overlap: str = "skip"
    catch_up_ms: int = CATCH_UP_MS
    remaining: int = -1
    pause_on_failure: bool = False
