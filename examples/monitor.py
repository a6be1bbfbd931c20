"""A monitor that reads a sensor for ever, and raises an alarm when its readings leave their bounds.

penstock dev examples/monitor.py

and in another shell, in the same folder:

penstock start monitor --id hall-3 --input '{"watch":{"sensor":"hall-3","above":30.0,"every":"2s"}}'
penstock query hall-3 latest
penstock cancel hall-3

The loop has no end, so that its history would grow without bound: it continues as a new run whenever Penstock suggests
it. What the loop knows goes along as its input.
"""

from __future__ import annotations

import datetime as dt

from pydantic import BaseModel

from penstock import Query, activity, continue_as_new, info, now, sleep, workflow


class Watch(BaseModel):
    """What to watch: an alarm is raised `above` this reading, once until it has fallen again."""

    sensor: str
    above: float
    every: str = "1m"


class Seen(BaseModel):
    """What was seen so far."""

    readings: int = 0
    reading: float | None = None
    at: dt.datetime | None = None
    alarms: int = 0
    is_alarmed: bool = False


latest = Query("latest", Seen)


@activity(timeout="10s", retries=3)
async def read(sensor: str, number: int) -> float:
    """Read the sensor; here, a day of temperatures that repeats."""
    return 20.0 + 12.0 * (number % 24) / 24 + len(sensor) % 3


@activity
async def alarm(sensor: str, reading: float) -> None:
    """Raise an alarm."""


@workflow(name="monitor")
async def monitor(watch: Watch, before: Seen | None = None) -> None:
    """Read, compare, wait; for ever. `before`: what earlier runs of the chain saw."""
    seen = before or Seen()
    latest.answer(lambda: seen)
    while not info().continue_as_new_suggested:
        reading = await read(watch.sensor, seen.readings)
        is_alarmed = reading > watch.above
        raised = is_alarmed and not seen.is_alarmed
        if raised:
            await alarm(watch.sensor, reading)
        seen = Seen(
            readings=seen.readings + 1,
            reading=reading,
            at=now(),
            alarms=seen.alarms + raised,
            is_alarmed=is_alarmed,
        )
        await sleep(watch.every)
    continue_as_new(monitor(watch, seen))
