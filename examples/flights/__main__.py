"""Do durable workflows count right? All departures from New York, against what pandas says.

    python -m examples.flights --days 1                       842 flights, on an embedded log
    python -m examples.flights --days 1 --kill                the same, with four processes killed on the way
    python -m examples.flights --log kafka://localhost:9092   on Kafka
    python -m examples.flights --days 365                     336,776 flights
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.flights import data, kills, report
from examples.flights.departures import Departures
from examples.flights.stage import Processes, Stage, StageError, Threads
from examples.flights.totals import Downstream
from penstock.config import Settings, load
from penstock.hosting import Reach, make_topics
from penstock.schemas.errors import PenstockError
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from penstock.uuid7 import uuid7

IN_FLIGHT_MAX = 1_000
STALL_S = 120.0
POLL_S = 0.2
QUEUE = "default"


def main() -> int:
    """Run the flights; 0 when the totals are equal, 1 when they differ or something failed."""
    options = _options()
    _end_by_sigterm_too()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="penstock-flights-")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    console = Console()
    try:
        return _run(options, folder, console)
    except (PenstockError, StageError) as error:
        console.print(f"the flights stopped: {error}", style="red", markup=False, highlight=False)
        console.print(f"what was written is in {folder}", markup=False, highlight=False)
        return 1


def _run(options: argparse.Namespace, folder: Path, console: Console) -> int:
    from examples.flights import expected  # late: pandas takes its time

    wanted = expected.totals(options.days)
    total = sum(row["flights"] for row in wanted.values())
    settings = _settings(options, folder)
    began = time.monotonic()
    run = uuid7().replace("-", "")[-12:]
    file = folder / f"totals-{run}.sqlite3"
    log = connect(settings.log)
    try:
        topics = Topics(settings.namespace, settings.prefix)
        reach = Reach(log, topics, make_topics(log, topics, settings, [QUEUE]))
        console.print(report.opening(total, options.days, settings), markup=False, highlight=False)
        downstream = Downstream(log, topics, run, file)
        departures = Departures(log, topics, reach.shards, run, data.flights(options.days))
        try:
            with _stage(options, settings, reach, folder) as stage:
                _turn(options, total, stage, departures, downstream, console)
        finally:
            departures.close()
        counted, airlines, unfinished = downstream.totals.rows(), downstream.totals.airlines(), downstream.totals.unfinished()
        downstream.close()
    finally:
        log.close()
    for name in ("log", "state"):
        shutil.rmtree(folder / name, ignore_errors=True)
    report.table(console, counted, airlines)
    return report.verdict(console, wanted, counted, unfinished, time.monotonic() - began, file)


def _turn(
    options: argparse.Namespace,
    total: int,
    stage: Stage,
    departures: Departures,
    downstream: Downstream,
    console: Console,
) -> None:
    """Publish as room comes, count what closes, kill who is due; until every flight has closed. Raises StageError."""
    in_flight_max = options.in_flight
    killing: list[kills.Kill] = []
    if isinstance(stage, Processes) and options.kill:
        killing = kills.plan(options.seed, total, stage.names)
        # Few at once, so that flights close all along and each kill finds some on the way.
        in_flight_max = min(in_flight_max, max(20, total // 10))
        say(f"seed {options.seed}: kills {', '.join(f'{one.name} at {one.closed}' for one in killing)}")
    closed, moved_s = 0, time.monotonic()
    with _progress(console, total) as show:
        while closed < total:
            departures.publish(in_flight_max - (departures.published - closed))
            if killing and closed >= killing[0].closed and isinstance(stage, Processes):
                kill = killing.pop(0)
                stage.kill_and_restart(kill.name)
                console.print(f"killed {kill.name} with {closed} flights closed, and started it again", highlight=False)
            downstream.take(POLL_S)
            stage.check()
            before, closed = closed, downstream.totals.closed()
            if closed != before:
                moved_s = time.monotonic()
            elif time.monotonic() - moved_s > STALL_S:
                raise StageError(f"no flight closed for {STALL_S:g} s; {closed} of {total} had")
            show(closed, departures.published - closed)


@contextmanager
def _stage(options: argparse.Namespace, settings: Settings, reach: Reach, folder: Path) -> Iterator[Stage]:
    stage: Stage = (
        Threads(settings, reach)
        if options.in_process
        else Processes(settings, folder, processors=options.processes, workers=options.workers)
    )
    stage.start()
    try:
        yield stage
    finally:
        stage.stop()


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[int, int], None]]:
    columns = (
        TextColumn("flights closed"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[flying]} under way"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total, flying=0)
        yield lambda closed, flying: progress.update(task, completed=closed, flying=flying)


def _settings(options: argparse.Namespace, folder: Path) -> Settings:
    """The settings: a log of our own unless one is named, state in the run's folder."""
    log = options.log or os.environ.get("PENSTOCK_LOG") or f"embedded:{folder / 'log'}"
    flags = {"log": log, "namespace": options.namespace, "log_level": "warning"}
    settings = load(flags, os.environ)
    if settings.embedded and settings.log_file is None:
        if not options.in_process:
            raise StageError("a log in memory is this process's alone: add --in-process")
        return settings
    return load({**flags, "data": str(folder / "state")}, os.environ)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m examples.flights", description="Flights as durable workflows.")
    parser.add_argument("--days", type=_days, default=1, help="the first N days of 2013, 1 to 365 (default 1)")
    parser.add_argument("--log", metavar="URL", help="embedded:PATH or kafka://HOST:PORT (default: a temporary one)")
    parser.add_argument("--namespace", default="flights", help="whose topics are used (default flights)")
    parser.add_argument("--folder", help="where totals, state and the processes' words go (default: a temporary one)")
    parser.add_argument("--in-flight", type=_count, default=IN_FLIGHT_MAX, help="flights under way at once")
    parser.add_argument("--processes", type=_count, default=1, help="processors (default 1)")
    parser.add_argument("--workers", type=_count, default=2, help="workers (default 2)")
    parser.add_argument("--in-process", action="store_true", help="one processor and one worker in this process")
    parser.add_argument("--kill", action="store_true", help="kill a processor and a worker twice each on the way")
    parser.add_argument("--seed", type=int, default=1, help="chooses the moments of the kills")
    options = parser.parse_args()
    if options.kill and options.in_process:
        parser.error("--kill needs processes of their own: leave out --in-process")
    return options


def _days(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= data.DAYS_MAX:
        raise argparse.ArgumentTypeError(f"{text} is no number of days from 1 to {data.DAYS_MAX}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 on")
    return int(text)


def _end_by_sigterm_too() -> None:
    """Unwind as Ctrl-C does, so that no process is left behind."""

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


if __name__ == "__main__":
    sys.exit(main())
