"""Load generator of the public rows: starts workflows through `penstock.Client` and awaits each result.

    python -m bench.public_client '{"url": …}'

A fixed number of workflows, at most `in_flight` of them at once. Standard input and output carry one line each way
before the report:

    client → ready        (the warm-up is over)
    parent → (any line)   (the measurement begins)
    client → a Report

Imports only public names of Penstock and runs on every version of it.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence

import msgspec

import penstock
from bench import public_workload
from penstock import Client

WORKFLOWS = {
    "sequential": (public_workload.sequential, public_workload.rotated(public_workload.TEXT, 5)),
    "fanout": (public_workload.fanout, public_workload.rotated(public_workload.TEXT, 1)),
}


class Load(msgspec.Struct, frozen=True):
    """Workflows to run, the warm-up among them excluded. `limit_s` bounds warm-up and measurement each."""

    url: str
    namespace: str
    workflow: str
    workflows: int
    warm_up: int
    in_flight: int
    limit_s: float


class Report(msgspec.Struct, frozen=True):
    """Times of the measured workflows, from calling `start` to having the result. `penstock`: the file imported."""

    penstock: str
    seconds: float
    p50_ms: float
    p95_ms: float
    cpu_s: float


def main() -> int:
    """Run the load that the command line describes."""
    load = msgspec.json.decode(sys.argv[1], type=Load)
    report = asyncio.run(_measure(load))
    print(msgspec.json.encode(report).decode(), flush=True)
    return 0


async def _measure(load: Load) -> Report:
    async with Client(load.url, namespace=load.namespace) as client:
        await _run(client, load, load.warm_up)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        latencies_s = sorted(await _run(client, load, load.workflows))
        return Report(
            penstock=str(penstock.__file__),
            seconds=time.perf_counter() - began_s,
            p50_ms=quantile(latencies_s, 0.50) * 1_000,
            p95_ms=quantile(latencies_s, 0.95) * 1_000,
            cpu_s=time.process_time() - began_cpu_s,
        )


async def _run(client: Client, load: Load, count: int) -> list[float]:
    """Run that many workflows and check their results; the seconds that each took."""
    call = _call(load.workflow)
    numbers, kind = iter(range(count)), uuid.uuid4().hex[:8]
    latencies_s: list[float] = []

    async def one_after_another() -> None:
        for number in numbers:
            began_s = time.perf_counter()
            await call(client, f"{kind}-{number:06d}")
            latencies_s.append(time.perf_counter() - began_s)

    async with asyncio.timeout(load.limit_s), asyncio.TaskGroup() as group:
        for _ in range(min(load.in_flight, count)):
            group.create_task(one_after_another())
    return latencies_s


def _call(name: str) -> Callable[[Client, str], Awaitable[None]]:
    """What one unit of a load does."""
    if name not in WORKFLOWS:  # of this version alone
        from bench.public_interaction import CALLS

        return CALLS[name]
    workflow, expected = WORKFLOWS[name]

    async def start_and_await(client: Client, id: str) -> None:
        run = await client.start(workflow(public_workload.TEXT), id=id)
        result = await run.result()
        if run.existing or result != expected:
            raise RuntimeError(f"the workflow {run.id} existed before or returned a wrong result: {result!r}")

    return start_and_await


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which that share of the ordered values lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


if __name__ == "__main__":
    sys.exit(main())
