"""Measurements through the public client, of this checkout alone or against another one.

    python -m bench.public [--quick] [--log kafka|embedded] [--shards N] [--workload NAME] [--out FILE]
    python -m bench.public --against DIR [--pairs 5] …

Rows: on the embedded log (1 shard) and on Kafka (1 and 4 shards), each with

- `client100`: workflows of five activities one after the other, 100 in flight;
- `client1`: the same workflows one at a time, for their latency;
- `fanout100`: workflows of 100 activities at once, 5 in flight;
- without `--against` also `execute100` (as `client100`, by one command each), `query`, `update`, `signal_with_start`,
  `continue_as_new` (chains of ten runs) and `children` (ten at once), 100 calls in flight.

Inputs and results are strings of 200 characters. Processor, worker and client are processes of their own; a workflow
counts from `Client.start` to the end of `Run.result`. The rows of a log share a namespace and run after one another.

With `--against`, both checkouts measure in turn on one broker: other, this, this, other, … For each row the medians of
both sides are printed and the ratios this / other pair by pair (minimum, median, maximum), for rates, latencies, CPU
time, broker requests, records and bytes. The other checkout needs nothing but a `.venv` that its Penstock is
installed in.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from bench import public_workload
from bench.broker_requests import BrokerRequests
from bench.place import Place, embedded, kafka
from bench.public_report import HEADINGS, Comparison, PublicRow, compare, line, public_row, table
from bench.public_system import Checkout, Deployment, other_checkout, this_checkout

RESULTS = Path(__file__).parent / "results" / "public.json"


class Workload(msgspec.Struct, frozen=True):
    """A load on one deployment: so many workflows after so many of warm-up."""

    name: str
    workflow: str
    activities: int
    in_flight: int
    workflows: int
    warm_up: int
    is_interaction: bool = False


class Stage(msgspec.Struct, frozen=True):
    """A log, and the loads that run on it one after the other."""

    log: str
    shards: int
    workloads: tuple[Workload, ...]


class Run(msgspec.Struct, frozen=True):
    """One row of one side of a comparison. Pairs count from 1."""

    pair: int
    side: str
    row: PublicRow


class Outcome(msgspec.Struct, frozen=True):
    """Contents of the file that a comparison writes. `comparisons` by row."""

    other: str
    runs: list[Run]
    comparisons: dict[str, list[Comparison]]


def workloads(one: int, hundred: int, fans: int, *, warm_up: float = 0.2) -> tuple[Workload, ...]:
    """The three loads with these numbers of workflows."""
    sequential, parallel = public_workload.SEQUENTIAL, public_workload.PARALLEL
    return (
        Workload("client1", "sequential", sequential, 1, one, max(3, round(one * warm_up))),
        Workload("client100", "sequential", sequential, 100, hundred, max(100, round(hundred * warm_up))),
        Workload("fanout100", "fanout", parallel, 5, fans, max(2, round(fans * warm_up))),
    )


def interactions(hundred: int) -> tuple[Workload, ...]:
    """The loads that talk to runs, with that number of calls; a tenth of it of those that take ten runs each."""

    def load(name: str, call: str, activities: int, calls: int) -> Workload:
        return Workload(name, call, activities, min(100, calls), calls, max(10, calls // 5), is_interaction=True)

    return (
        load("execute100", "execute", public_workload.SEQUENTIAL, hundred),
        load("query", "query", 0, hundred),
        load("update", "update", 0, hundred),
        load("signal_with_start", "signal_with_start", 0, hundred),
        load("continue_as_new", "continue_as_new", 0, hundred // 10),
        load("children", "children", 0, hundred // 10),
    )


FULL = (
    Stage("embedded", 1, (*workloads(200, 3_000, 160), *interactions(3_000))),
    Stage("kafka", 1, (*workloads(200, 3_000, 160), *interactions(3_000))),
    Stage("kafka", 4, (*workloads(200, 3_000, 160), *interactions(3_000))),
)
QUICK = (
    Stage("embedded", 1, (*workloads(20, 100, 2), *interactions(100))),
    Stage("kafka", 4, (*workloads(20, 100, 2), *interactions(100))),
)


def main() -> int:
    """Measure as the command line says."""
    arguments = _arguments()
    stages = chosen(
        QUICK if arguments.quick else FULL,
        log=arguments.log,
        shards=arguments.shards,
        load=lambda load: (
            arguments.workload in (None, load.name) and (arguments.against is None or not load.is_interaction)
        ),
    )
    if not stages:
        print("no row matches these options: see the stages in bench/public.py", file=sys.stderr)
        return 2
    if arguments.against is None:
        _alone(stages, arguments.out or RESULTS)
        return 0
    try:
        other = other_checkout(arguments.against)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    _against(other, stages, arguments.pairs, arguments.out or RESULTS)
    return 0


def measure(checkout: Checkout, place: Place, stage: Stage, requests: BrokerRequests | None) -> Iterator[PublicRow]:
    """The rows of a stage, in a fresh namespace on the place."""
    modules = ["bench.public_workload"]
    if any(load.is_interaction for load in stage.workloads):
        modules.append("bench.public_interaction")
    deployment = Deployment(checkout, place, stage.shards, requests, modules)
    try:
        for load in stage.workloads:
            busy = os.getloadavg()[0]
            measured = deployment.measure(load.workflow, load.workflows, load.warm_up, load.in_flight)
            yield public_row(
                stage.log,
                load.name,
                load.in_flight,
                stage.shards,
                load.workflows,
                load.activities,
                measured,
                busy,
            )
    finally:
        deployment.close()


def chosen(
    stages: Sequence[Stage], *, log: str | None, shards: int | None, load: Callable[[Workload], bool]
) -> list[Stage]:
    """The stages of that log and number of shards (None: any), with the loads for which `load` is true."""
    found = []
    for stage in stages:
        loads = tuple(filter(load, stage.workloads))
        if loads and log in (None, stage.log) and shards in (None, stage.shards):
            found.append(Stage(stage.log, stage.shards, loads))
    return found


@contextlib.contextmanager
def requests_of(place: Place | None) -> Iterator[BrokerRequests | None]:
    """Counter of the place's broker; None without a broker that the benchmark started."""
    if place is None or place.broker is None:
        yield None
        return
    requests = BrokerRequests(place.broker.pid)
    try:
        yield requests
    finally:
        requests.close()


def measure_stages(stages: Sequence[Stage], broker: Place | None) -> Iterator[PublicRow]:
    """The rows of stages of one log on this checkout, each stage in a fresh namespace."""
    with requests_of(broker) as requests:
        for stage in stages:
            with contextlib.nullcontext(broker) if broker is not None else embedded() as place:
                yield from measure(this_checkout(), place, stage, requests)


def _alone(stages: Sequence[Stage], out: Path) -> None:
    rows: list[PublicRow] = []
    print(HEADINGS, flush=True)
    for log in dict.fromkeys(stage.log for stage in stages):
        with _broker(log) as broker:
            for row in measure_stages([stage for stage in stages if stage.log == log], broker):
                rows.append(row)
                print(line(row), flush=True)
    _write(rows, out)
    print(f"\nwritten to {out}")


def _against(other: Checkout, stages: Sequence[Stage], pairs: int, out: Path) -> None:
    """Measure each stage on the other checkout and on this one, `pairs` times, and print the comparison.

    Complete pairs are in the file as soon as they were measured."""
    runs: list[Run] = []
    print(f"other: {other.root}\nthis:  {this_checkout().root}\n{HEADINGS}", flush=True)
    for log in dict.fromkeys(stage.log for stage in stages):
        with _broker(log) as broker:
            mine = [stage for stage in stages if stage.log == log]
            if broker is not None:
                for _ in measure_stages(mine, broker):
                    pass  # a new JVM compiles while it works: the first rows do not count
            for pair in range(1, pairs + 1):
                for run in _pair(other, pair, mine, broker):
                    runs.append(run)
                    print(f"{line(run.row)}  {run.side} {run.pair}", flush=True)
                _write(Outcome(str(other.root), runs, compared(runs)), out)
    for name, comparisons in compared(runs).items():
        print(f"\n{table(name, comparisons)}")
    print(f"\nwritten to {out}")


def _pair(other: Checkout, pair: int, stages: Sequence[Stage], broker: Place | None) -> Iterator[Run]:
    """One measurement of the stages on both sides. The sides change places from pair to pair, because what runs
    second finds a warmer machine and a longer log."""
    sides = (other, this_checkout()) if pair % 2 else (this_checkout(), other)
    with requests_of(broker) as requests:
        for stage in stages:
            for checkout in sides:
                with contextlib.nullcontext(broker) if broker is not None else embedded() as place:
                    for row in measure(checkout, place, stage, requests):
                        yield Run(pair, checkout.name, row)


def compared(runs: Sequence[Run]) -> dict[str, list[Comparison]]:
    """Comparison of each row over the complete pairs of its runs."""
    return {title: compare(rows) for title, rows in paired(runs).items() if rows}


def paired(runs: Sequence[Run]) -> dict[str, list[tuple[PublicRow, PublicRow]]]:
    """The rows (other, this) of each complete pair, by row."""
    by_place = {(_title(run.row), run.pair, run.side): run.row for run in runs}
    return {
        title: [
            (by_place[title, pair, "other"], by_place[title, pair, "this"])
            for pair in dict.fromkeys(run.pair for run in runs)
            if (title, pair, "other") in by_place and (title, pair, "this") in by_place
        ]
        for title in dict.fromkeys(_title(run.row) for run in runs)
    }


def _title(row: PublicRow) -> str:
    return f"{row.log}, {row.shards} {'shard' if row.shards == 1 else 'shards'}, {row.workload}"


def _broker(log: str) -> contextlib.AbstractContextManager[Place | None]:
    return kafka() if log == "kafka" else contextlib.nullcontext()


def _write(results: object, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.public", description="Measure through the public client.")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout to compare this one with")
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="measurements of each side (default: 5)")
    parser.add_argument("--quick", action="store_true", help="few and short rows")
    parser.add_argument("--log", choices=["kafka", "embedded"], help="rows on this log only")
    parser.add_argument("--shards", type=int, metavar="N", help="rows with this number of shards only")
    parser.add_argument("--workload", choices=[load.name for load in FULL[0].workloads], help="this workload only")
    parser.add_argument("--out", type=Path, help="file for the results (default: bench/results/public.json)")
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
