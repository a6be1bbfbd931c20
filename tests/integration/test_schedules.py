"""Tests of schedules on both logs: over processors that are killed in turn or frozen, and over an outage."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.client.client import Client
from penstock.engine.core.schedule_plan import run_workflow_id
from penstock.schemas.errors import NotAnswered
from penstock.schemas.values.schedule import Overlap, Schedule
from tests.integration import flows
from tests.integration.system import System, wait_until

TICKS = 12
LATE_RUNS: dict[Overlap, list[int]] = {
    "skip": [0],
    "buffer_one": [0, 1],
    "buffer_all": [0, 1, 2],
    "cancel_other": [0, 2],
    "terminate_other": [0, 2],
    "allow_all": [0, 1, 2],
}
"""Which of three ticks start a run that all were late."""


def created(system: System, schedules: dict[str, Schedule]) -> None:
    """Create schedules of `five`."""

    async def create() -> None:
        async with Client(system.url, namespace=system.namespace) as client:
            for name, schedule in schedules.items():
                await client.schedules.create(name, flows.five(1), schedule)

    asyncio.run(create())


def described(system: System, names: list[str]) -> dict[str, dict[str, Any]]:
    """Descriptions of schedules."""

    async def describe() -> list[dict[str, Any]]:
        async with Client(system.url, namespace=system.namespace) as client:
            return await asyncio.gather(*(client.schedules.get(name).describe() for name in names))

    return dict(zip(names, asyncio.run(describe()), strict=True))


def runs_of(system: System, name: str) -> list[str]:
    """Ids of the runs that a schedule started."""

    async def listed() -> list[dict[str, Any]]:
        async with Client(system.url, namespace=system.namespace) as client:
            return await client.list(limit=1_000)

    return [run["workflow_id"] for run in asyncio.run(listed()) if run["parent_workflow_id"] == f"schedule:{name}"]


def wait_for_rest(system: System, names: list[str]) -> dict[str, dict[str, Any]]:
    """Wait until all ticks of the schedules are decided and all their runs have closed."""
    found: dict[str, dict[str, Any]] = {}

    def is_done() -> bool:
        try:
            found.update(described(system, names))
        except NotAnswered:  # a shard changes hands
            return False
        return not any(one["next_ms"] or one["running"] or one["waiting"] for one in found.values())

    wait_until("the schedules to have no ticks and no open runs", is_done, timeout_s=90)
    return found


def test_each_tick_once_while_processors_are_killed_in_turn(system: System) -> None:
    """Two processors are killed one after the other, and replaced: each second has its run, once, and all complete."""
    worker = system.start_worker()
    processors = [system.start_processor() for _ in range(2)]
    system.wait_for_owners("two processors to share the shards", 2)
    schedule = Schedule(every="1s", remaining=TICKS, overlap="allow_all")
    created(system, {"steady": schedule})
    for number in range(2):
        system.wait_for_events("ScheduledRunStarted", 3 * number + 2)
        processors[number].kill()
        processors.append(system.start_processor())
    (found,) = wait_for_rest(system, ["steady"]).values()
    last_ms = found["last_ms"]
    expected = [run_workflow_id("schedule:steady", last_ms - 1_000 * number) for number in range(TICKS)]
    assert sorted(runs_of(system, "steady")) == sorted(expected)
    assert system.results(expected) == dict.fromkeys(expected, 11)
    assert (found["started"], found["skipped"], found["missed"]) == (TICKS, 0, 0)
    for processor in processors[2:]:
        assert system.end(processor) == 0, system.child_log(processor)
    worker.stop()
    system.check(TICKS)


def test_a_frozen_owner_starts_no_tick_again(system: System) -> None:
    """A processor that is frozen amid a commit, replaced, and wakes later repeats no tick: each has its run, once."""
    worker = system.start_worker()
    frozen = system.start_processor(sleeps_at=("after offsets", 9))
    system.wait_for_owners("the first processor to have every shard", 1)
    created(system, {"woken": Schedule(every="1s", remaining=TICKS, overlap="allow_all")})
    system.wait_for_sleep(frozen)
    started = system.read(system.topics.events)
    second = system.start_processor()
    wait_until("the second processor to decide ticks", lambda: len(system.read(system.topics.events)) > len(started))
    frozen.send_signal(signal.SIGCONT)
    (found,) = wait_for_rest(system, ["woken"]).values()
    expected = [run_workflow_id("schedule:woken", found["last_ms"] - 1_000 * number) for number in range(TICKS)]
    assert sorted(runs_of(system, "woken")) == sorted(expected)
    assert (found["started"], found["skipped"], found["missed"]) == (TICKS, 0, 0)
    assert system.results(expected) == dict.fromkeys(expected, 11)
    for processor in (second, frozen):
        assert system.end(processor) == 0, system.child_log(processor)
    worker.stop()
    system.check(TICKS)


def test_three_ticks_while_no_processor_runs(system: System) -> None:
    """Three ticks that come while no processor runs are made up for as each overlap policy says, none twice."""
    first = system.start_processor()
    system.wait_for_owners("the processor to have every shard", 1)
    begin = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=8)
    end = begin + timedelta(seconds=2)
    names = [f"late-{overlap}" for overlap in LATE_RUNS]
    created(
        system,
        {
            f"late-{overlap}": Schedule(every="1s", start=begin, end=end, overlap=overlap, catch_up="10m")
            for overlap in LATE_RUNS
        },
    )
    first.kill()
    first.wait(10)
    assert datetime.now(UTC) < begin, "the machine was too slow for this test"
    wait_until("the ticks to have passed", lambda: datetime.now(UTC) > end + timedelta(seconds=1))
    second = system.start_processor()
    worker = system.start_worker()
    found = wait_for_rest(system, names)
    for overlap, ticks in LATE_RUNS.items():
        name = f"late-{overlap}"
        moments = [round(begin.timestamp() * 1000) + 1_000 * tick for tick in ticks]
        expected = sorted(run_workflow_id(f"schedule:{name}", tick_ms) for tick_ms in moments)
        assert sorted(runs_of(system, name)) == expected, name
        assert found[name]["skipped"] == 3 - len(ticks), name
    assert system.end(second) == 0, system.child_log(second)
    worker.stop()
    system.check(sum(map(len, LATE_RUNS.values())))
