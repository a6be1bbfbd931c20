"""Tests of records that workflow code publishes, with processors that are killed."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import pytest

from penstock.client.client import Client
from penstock.topics.log import TopicSpec
from tests.integration import flows
from tests.integration.faults import DIED
from tests.integration.system import System, wait_until

RUNS = 12


@pytest.mark.parametrize("step", ["after produce", "after offsets", "after commit"])
def test_published_records_are_there_once(system: System, step: str) -> None:
    """Each record is in the topic once, and those of a key in order, although a processor is killed as it commits."""
    topic = f"audit.{system.namespace}"
    system.log.create([TopicSpec(topic, 3, {})])
    calls = {f"run-{n}": flows.audited(topic, n) for n in range(RUNS)}
    system.publish_starts(calls)
    system.start_worker()
    doomed = system.child("tests.integration.faults", system.url, system.namespace, str(system.data), step, "2")
    system.wait_for_death(doomed, DIED)
    system.child("tests.integration.faults", system.url, system.namespace, str(system.data), "never", "1")
    assert system.results(calls, 90) == {f"run-{n}": n + 1 for n in range(RUNS)}
    found = system.read(topic)
    assert Counter(record.key for record in found) == {str(n).encode(): 2 for n in range(RUNS)}
    steps: dict[bytes | None, list[str]] = {}
    for record in found:
        steps.setdefault(record.key, []).append(msgspec.json.decode(record.value or b"")["step"])
    assert set(map(tuple, steps.values())) == {("begun", "done")}


def test_a_run_goes_on_when_its_topic_exists(system: System) -> None:
    """A missing topic is created on an embedded log; on Kafka the run that publishes to it waits until it exists."""
    topic = f"late.{system.namespace}"
    system.start_worker()
    system.start_processor()

    async def begin() -> None:
        async with Client(system.url, namespace=system.namespace) as client:
            await client.start(flows.audited(topic, 1), id="late")

    async def status() -> str:
        async with Client(system.url, namespace=system.namespace) as client:
            return str((await client.describe("late"))["status"])

    asyncio.run(begin())
    if system.is_kafka:
        wait_until("the run to be blocked", lambda: asyncio.run(status()) == "blocked")
        system.log.create([TopicSpec(topic, 1, {})])
    assert system.results(["late"]) == {"late": 2}
    assert len(system.read(topic)) == 2
