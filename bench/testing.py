"""What tests of workflows cost: a TestEngine that opens and closes, a month of durable time, the example of onboarding.

    python -m bench.testing [ROUNDS]

Prints one line for each row, in milliseconds: the first time in a process, then median and largest of ROUNDS.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from examples.onboarding import Customer, onboarding, send_mail
from penstock import activity, sleep, workflow
from penstock.testing import TestEngine

ROUNDS_DEFAULT = 20
Row = Callable[[], Coroutine[Any, Any, float]]


@activity(name="bench-note")
def note(day: int) -> int:
    return day


@workflow(name="bench-month")
async def month() -> None:
    await sleep("30d")


@workflow(name="bench-days")
async def days() -> None:
    for day in range(30):
        await sleep("1d")
        await note(day)


async def opened() -> float:
    """A TestEngine until its client can be used."""
    engine, began_s = TestEngine(month), time.perf_counter()
    await engine.__aenter__()
    took_s = time.perf_counter() - began_s
    await engine.__aexit__(None, None, None)
    return took_s


async def closed() -> float:
    """The end of the block of an engine that ran a workflow."""
    engine = TestEngine(days, note)
    await engine.__aenter__()
    await engine.client.execute(days(), id="x")
    began_s = time.perf_counter()
    await engine.__aexit__(None, None, None)
    return time.perf_counter() - began_s


async def one_month() -> float:
    """Start and result of a run that sleeps for 30 days."""
    async with TestEngine(month) as engine:
        began_s = time.perf_counter()
        await engine.client.execute(month(), id="x")
        return time.perf_counter() - began_s


async def thirty_days() -> float:
    """30 sleeps of a day, each followed by an activity."""
    async with TestEngine(days, note) as engine:
        began_s = time.perf_counter()
        await engine.client.execute(days(), id="x")
        return time.perf_counter() - began_s


async def onboarding_test() -> float:
    """The whole test of the example, with the engine's start and end, and the replay of its history."""
    began_s = time.perf_counter()
    async with TestEngine(onboarding, send_mail) as engine:
        engine.mock(send_mail, "sent")
        assert len(await engine.client.execute(onboarding(Customer("ann@example.org")), id="ann")) == 3
    return time.perf_counter() - began_s


ROWS: dict[str, Row] = {
    "onboarding example's test": onboarding_test,
    "engine up": opened,
    "engine down": closed,
    "a run of 30 days": one_month,
    "30 days, each with an activity": thirty_days,
}


def main(rounds: int) -> None:
    """Measure and print all rows; the onboarding test comes first, as in a process that runs nothing else."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    print(f"{'':<32}{'first':>8}{'median':>8}{'max':>8}  ms")
    for name, row in ROWS.items():
        with contextlib.redirect_stdout(sys.stderr):
            taken_ms = [1_000 * asyncio.run(row()) for _ in range(rounds + 1)]
        first_ms, rest = taken_ms[0], taken_ms[1:]
        print(f"{name:<32}{first_ms:>8.1f}{statistics.median(rest):>8.1f}{max(rest):>8.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS_DEFAULT)
