"""Test that an id is started once, by any clients and any number of starts."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from penstock.client.client import Client
from tests.integration import checks, flows
from tests.integration.system import System

IDS = [f"run-{n}" for n in range(20)]


def test_an_id_is_started_once(system: System) -> None:
    """Ids started by two clients at once, then by two commands at once: one run each, and the second reply says so."""
    system.start_worker()
    processor = system.start_processor()
    system.wait_for_owners("the processor to have every shard", 1)
    typed = [system.type("start", "integration.five", "--id", "typed", "--input", "1") for _ in range(2)]
    at_once = Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: asyncio.run(_start_all(system, at_once)), range(2))
    for id in IDS:
        (run_of_first, first_joined), (run_of_second, second_joined) = first[id], second[id]
        assert run_of_first == run_of_second, f"{id} got two runs"
        assert first_joined != second_joined, f"{id}: one started it and the other reply said so"
    told = sorted(one.ended()[1] for one in typed)
    assert [line.partition(" (run ")[0] for line in told] == ["started typed", "typed was started before"]
    system.type("start", "integration.five", "--id", "typed", "--on-existing", "reject", "--input", "1").refused(
        1, "typed was started before", "choose another id"
    )
    assert system.results([*IDS, "typed"]) == dict.fromkeys([*IDS, "typed"], 11)
    assert system.end(processor) == 0, system.child_log(processor)
    runs = checks.histories(checks.decisions(system.log, system.topics, system.shards))
    assert sorted(id for id, _ in runs) == sorted([*IDS, "typed"])


async def _start_all(system: System, at_once: Barrier) -> dict[str, tuple[str, bool]]:
    """Run and whether it existed before, by id, for a client of its own that starts them when the other does."""
    async with Client(system.url, namespace=system.namespace) as client:
        await asyncio.to_thread(at_once.wait, 30)
        runs = await asyncio.gather(*(client.start(flows.five(1), id=id) for id in IDS))
    return {run.id: (run.run_id, run.existing) for run in runs}
