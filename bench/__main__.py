"""Measurements of every case on this machine: prints two tables and writes bench/results/latest.json.

python -m bench [--quick] [--log kafka|embedded] [--mode closed|backlog|client] [--in-flight N] [--shards N]
                [--processes N] [--out FILE]

The mode `client` stands for the rows through the public client (public.py).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench import public, public_report, report, sizes
from bench.client import Load
from bench.place import Place, embedded, kafka
from bench.public import Stage
from bench.public_report import PublicRow
from bench.report import RawPipe, Row
from bench.sizes import Batches, Flow, Sample
from bench.system import System

HERE = Path(__file__).parent
LIMIT_S = 240.0
RAW_PIPE_S = 60.0
# A new broker spends its time on compiling: it does work of the measured kind first.
WARM_UP = Sample(
    inputs=[Flow("commands", 1, 13, 100, 4), Flow("results", 5, 13, 100, 4)],
    outputs=[Flow("events", 6, 13, 300, 4), Flow("state-changelog", 28, 60, 100, 4), Flow("tasks", 5, 13, 150, 16)],
    per_shard=[Flow("state-changelog", 0, 1, 100, 4)],
)
WARM_UP_BATCHES = (Batches(2_000, 1, 4), Batches(30, 1, 4), Batches(1, 1, 1))


class Case(msgspec.Struct, frozen=True):
    """One row to measure. `in_flight` of a backlog: workflows that wait at its start; `processes` counts processors."""

    log: str
    mode: str
    in_flight: int
    shards: int
    processes: int = 1


class Effort(msgspec.Struct, frozen=True):
    """Cases to measure, and how long. `stages` are the rows through the public client."""

    cases: tuple[Case, ...]
    stages: tuple[Stage, ...]
    warm_up_s: float
    measure_s: float
    sample_workflows: int
    raw_pipe_s: float
    raw_pipe_inputs: int
    warm_broker_s: float


FULL = Effort(
    cases=(
        *(Case("embedded", "closed", in_flight, 1) for in_flight in (1, 100, 10_000)),
        Case("embedded", "backlog", 20_000, 1),
        *(Case("kafka", "closed", in_flight, shards) for shards in (4, 1) for in_flight in (1, 100, 10_000)),
        *(Case("kafka", "backlog", 20_000, shards) for shards in (4, 1)),
        Case("kafka", "backlog", 20_000, 4, processes=2),
    ),
    stages=public.FULL,
    warm_up_s=3.0,
    measure_s=12.0,
    sample_workflows=300,
    raw_pipe_s=5.0,
    raw_pipe_inputs=120_000,
    warm_broker_s=40.0,
)
QUICK = Effort(
    cases=(
        *(Case("embedded", "closed", in_flight, 1) for in_flight in (1, 100)),
        *(Case("kafka", "closed", in_flight, 4) for in_flight in (1, 100)),
        Case("kafka", "backlog", 2_000, 4),
    ),
    stages=public.QUICK,
    warm_up_s=0.5,
    measure_s=2.0,
    sample_workflows=60,
    raw_pipe_s=1.0,
    raw_pipe_inputs=24_000,
    warm_broker_s=5.0,
)


def main() -> int:
    """Measure the cases that the command line chooses."""
    arguments = _arguments()
    effort = QUICK if arguments.quick else FULL
    cases = [case for case in effort.cases if _chosen(case, arguments)]
    stages = _chosen_stages(effort.stages, arguments)
    if not cases and not stages:
        print(
            "no case matches these options: see the cases in bench/__main__.py and the stages in bench/public.py",
            file=sys.stderr,
        )
        return 2
    rows: list[Row | PublicRow] = []
    for log in dict.fromkeys([case.log for case in cases] + [stage.log for stage in stages]):
        with kafka() if log == "kafka" else contextlib.nullcontext() as broker:
            if broker is not None:
                warm(broker, effort)
            for row in _rows(log, broker, cases, stages, effort):
                rows.append(row)
                print(report.line(row) if isinstance(row, Row) else public_report.line(row), flush=True)
                report.write(rows, arguments.out)
    print(f"written to {arguments.out}")
    return 0


def _rows(
    log: str, broker: Place | None, cases: Sequence[Case], stages: Sequence[Stage], effort: Effort
) -> Iterator[Row | PublicRow]:
    """Rows of a log under their headings, on the broker or on fresh embedded files."""
    mine = [case for case in cases if case.log == log]
    if mine:
        print(report.HEADINGS, flush=True)
    for case in mine:
        with contextlib.nullcontext(broker) if broker is not None else embedded() as place:
            yield measure(case, effort, place)
    public_stages = [stage for stage in stages if stage.log == log]
    if public_stages:
        print(public_report.HEADINGS, flush=True)
        yield from public.measure_stages(public_stages, broker)


def measure(case: Case, effort: Effort, place: Place) -> Row:
    """One row: a fresh namespace, a sample for the sizes, the load, and then the raw pipe on the idle machine."""
    busy = os.getloadavg()[0]
    load_for = {"warm_up_s": effort.warm_up_s, "measure_s": effort.measure_s, "limit_s": LIMIT_S}
    system = System(place, case.shards, case.processes)
    load = Load(place.url, system.namespace, case.shards, case.mode, case.in_flight, **load_for)
    try:
        system.start()
        sample = sizes.sample(system, effort.sample_workflows)
        if case.mode == "backlog":
            system.stop()
        measured = system.measure(load)
        system.stop()
        batches = sizes.batches(system, measured)
    finally:
        system.close()
    raw = raw_pipe(place, case.shards, sample, batches, effort.raw_pipe_s, effort.raw_pipe_inputs)
    return report.row(case.log, case.processes, load, measured, sample, batches, raw, os.cpu_count() or 1, busy)


def warm(place: Place, effort: Effort) -> None:
    """Warm the broker's JVM up."""
    for batches in WARM_UP_BATCHES:
        raw_pipe(place, 4, WARM_UP, batches, effort.warm_broker_s / len(WARM_UP_BATCHES), effort.raw_pipe_inputs)


def raw_pipe(place: Place, shards: int, sample: Sample, batches: Batches, seconds: float, inputs_max: int) -> RawPipe:
    """Run the frozen program over records of the same number and size."""
    size = max(1, round(batches.decisions / max(1, batches.transactions)))
    plan = {
        **msgspec.to_builtins(sample),
        "bootstrap": place.bootstrap,
        "file": str(place.folder / f"raw-{os.urandom(4).hex()}.sqlite3"),
        "shards": shards,
        "inputs_per_transaction": size,
        "transactions": max(20, min(2_000, inputs_max // size)),
        "seconds_max": seconds,
    }
    program = "raw_pipe.py" if place.bootstrap else "raw_pipe_embedded.py"
    done = subprocess.run(
        [sys.executable, str(HERE / program)],
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        timeout=RAW_PIPE_S + seconds,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=RawPipe)


def _chosen_stages(stages: Sequence[Stage], arguments: argparse.Namespace) -> list[Stage]:
    """The stages with those loads that the options name."""
    if arguments.mode not in (None, "client") or arguments.processes not in (None, 1):
        return []
    return public.chosen(
        stages,
        log=arguments.log,
        shards=arguments.shards,
        load=lambda load: arguments.in_flight in (None, load.in_flight),
    )


def _chosen(case: Case, arguments: argparse.Namespace) -> bool:
    return all(getattr(arguments, name) in (None, getattr(case, name)) for name in Case.__struct_fields__)


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Penstock on this machine.")
    parser.add_argument("--quick", action="store_true", help="few and short cases, within about a minute")
    parser.add_argument("--log", choices=["kafka", "embedded"], help="cases on this log only")
    parser.add_argument("--mode", choices=["closed", "backlog", "client"], help="cases of this mode only")
    parser.add_argument("--in-flight", type=int, metavar="N", help="cases with this number of workflows only")
    parser.add_argument("--shards", type=int, metavar="N", help="cases with this number of shards only")
    parser.add_argument("--processes", type=int, metavar="N", help="cases with this number of processors only")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="file for the rows, as JSON")
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
