"""Tests of a processor that is killed inside a transaction."""

from __future__ import annotations

import asyncio
import random

import pytest

from penstock.client.client import Client
from penstock.topics.log import Record
from tests.integration import checks, flows
from tests.integration.faults import DIED, STEPS
from tests.integration.system import System

RUNS = 12


async def _results(system: System) -> list[int]:
    async with Client(system.url, namespace=system.namespace) as client:
        return [await client.get(f"run-{n}", returns=int).result(timeout="90s") for n in range(RUNS)]


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_each_step_of_the_commit(system: System, step: str) -> None:
    """A processor killed there and restarted gives right results once, whole histories and equal stores."""
    seed = random.Random(step).randrange(2, 7)  # few enough for a busy machine, which decides more at once
    print(f"dies at its transaction number {seed}")
    system.publish(_starts(system))
    worker = system.start_worker()
    doomed = system.child("tests.integration.faults", system.url, system.namespace, str(system.data), step, str(seed))
    system.wait_for_death(doomed, DIED)
    healthy = system.child("tests.integration.faults", system.url, system.namespace, str(system.data), "never", "1")
    assert asyncio.run(_results(system)) == [flows.mixed_result(n) for n in range(RUNS)]
    assert system.end(healthy) == 0, system.child_log(healthy)
    worker.stop()
    found = checks.decisions(system.log, system.topics, system.shards)
    checks.check_decisions_contiguous(found)
    runs = checks.histories(found)
    checks.check_results_once(runs)
    checks.check_stores(system.log, system.topics, system.shards, system.data)
    assert len(runs) == 2 * RUNS, "each run and its child ran once"


def _starts(system: System) -> list[Record]:
    from penstock.schemas.encoding.codec import encode
    from penstock.schemas.records.run import StartWorkflow
    from penstock.topics.partitioner import partition_of

    made = []
    for n in range(RUNS):
        call = flows.mixed(n)
        call.claim()
        command = StartWorkflow(
            workflow_id=f"run-{n}", workflow_type=call.name, input=call.input, message_id=f"start-{n}"
        )
        partition = partition_of(command.workflow_id, system.shards)
        made.append(Record(system.topics.commands, partition, command.workflow_id.encode(), encode(command)))
    return made
