"""Two schedules, of which one depends on the other: each hour is loaded, and each day summed up once it is complete.

penstock dev examples/etl.py

and in another shell, in the same folder:

penstock schedule create load load --input '"warehouse"' --cron '0 * * * *' --overlap allow_all --catch-up 2d
penstock schedule create sum-up sum-up --input '{"folder": "warehouse", "hours": 24}' --cron '10 0 * * *'
penstock schedule backfill load 2026-11-25T00:00:00Z 2026-11-25T23:00:00Z
penstock schedule trigger sum-up

The second does not rely on the time that the first takes: it looks for the partitions of its day, and waits for those
that are missing. Which hour or day a run is about comes from its tick, so a run that is late, or backfilled, loads the
right one.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from penstock import activity, info, sleep, workflow


@activity(timeout="10s")
def load_partition(folder: str, at: datetime) -> int:
    """Load the rows of one tick; here, a number that follows from it. Loading it again writes the same."""
    rows = at.hour + at.minute + at.second
    path = _partition(folder, at)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(rows))
    return rows


@activity(timeout="10s")
def missing(folder: str, moments: list[datetime]) -> int:
    """How many partitions are not there yet."""
    return sum(not _partition(folder, at).exists() for at in moments)


@activity(timeout="10s")
def total(folder: str, moments: list[datetime]) -> int:
    """The sum of all partitions."""
    return sum(int(_partition(folder, at).read_text()) for at in moments)


def _partition(folder: str, at: datetime) -> Path:
    return Path(folder) / f"{at:%Y-%m-%dT%H-%M-%S}.rows"


@workflow(name="load")
async def load(folder: str) -> int:
    """Load the partition of this run's tick."""
    tick = info().scheduled_at or info().started
    return await load_partition(folder, tick)


@workflow(name="sum-up")
async def sum_up(folder: str, hours: int, step: float = 3600.0) -> int:
    """Sum up the last partitions before this run's tick, once all of them are there. `step`: from one to the next."""
    tick = info().scheduled_at or info().started
    latest = tick - timedelta(seconds=tick.timestamp() % step)
    moments = [latest - timedelta(seconds=step * back) for back in range(hours)]
    while await missing(folder, moments):
        await sleep(step / 60)
    return await total(folder, moments)
