"""All departures from New York in 2013 as durable workflows, with totals compared to those of pandas.

Each flight is a workflow; a downstream program adds up their results.

    python -m examples.flights --days 1                       842 flights, on an embedded log
    python -m examples.flights --days 1 --kill                the same, with four processes killed during the run
    python -m examples.flights --log kafka://localhost:9092   on Kafka
    python -m examples.flights --days 365                     336,776 flights; the log takes about 2 GB during the run
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from examples.flights import data, report
from examples.flights.departures import Departures
from examples.flights.flow import IN_FLIGHT_MAX, Flow, run_to_the_end
from examples.flights.kills import NO_KILLS, Kills
from examples.flights.stage import Processes, Stage, StageError, Threads
from examples.flights.totals import Downstream
from penstock.client.uuid7 import uuid7
from penstock.config import Settings, load
from penstock.hosting.namespace import Namespace, make_topics
from penstock.observe.logs import configure
from penstock.schemas.errors import PenstockError, SettingsError
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect

QUEUE = "default"


def main() -> int:
    """Run the flights. Returns 0 if the totals are equal, 1 if they differ or an error occurred."""
    options = _options()
    _exit_on_sigterm()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="penstock-flights-")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    console = Console()
    configure("console", "error")  # failed attempts are expected here; workers log them as warnings
    try:
        return _compare(options, _settings(options, folder), folder, console)
    except (PenstockError, StageError) as error:
        report.say(console, f"the flights stopped: {error}", "red")
    except KeyboardInterrupt:
        report.say(console, "the flights stopped: Ctrl-C")
    report.say(console, f"totals and process logs are in {folder}")
    return 1


def _compare(options: argparse.Namespace, settings: Settings, folder: Path, console: Console) -> int:
    """Run the flights, and compare the counted totals with the expected ones."""
    from examples.flights import expected  # importing pandas is slow, so errors in the settings are reported first

    wanted = expected.totals(options.days)
    flights = sum(row["flights"] for row in wanted.values())
    report.opening(console, flights, options.days, settings)
    began_s = time.monotonic()
    run = uuid7().replace("-", "")[-12:]
    file = folder / f"totals-{run}.sqlite3"
    counted = _run(options, settings, folder, console, run, flights, file)
    for name in ("log", "state"):  # temporary files of the run; the totals are kept
        shutil.rmtree(folder / name, ignore_errors=True)
    report.table(console, counted)
    return report.verdict(console, wanted, counted, time.monotonic() - began_s, file)


def _run(
    options: argparse.Namespace,
    settings: Settings,
    folder: Path,
    console: Console,
    run: str,
    flights: int,
    file: Path,
) -> report.Counted:
    """Start processors and workers, run every flight, stop them. Returns what the downstream program counted."""
    with _namespace(settings) as namespace:
        departures = Departures(namespace.log, namespace.topics, namespace.shards, run, data.flights(options.days))
        downstream = Downstream(namespace.log, namespace.topics, run, file)
        try:
            with _stage(options, settings, namespace, folder) as stage, report.progress(console, flights) as show:
                flow = Flow(stage, departures, downstream, show)
                run_to_the_end(flow, flights, options.in_flight, _kills(options, flights, stage, console))
            return report.Counted(
                downstream.totals.rows(), downstream.totals.airlines(), downstream.totals.unfinished()
            )
        finally:
            downstream.close()
            departures.close()


@contextmanager
def _namespace(settings: Settings) -> Iterator[Namespace]:
    log = connect(settings.log)
    try:
        topics = Topics(settings.namespace, settings.prefix)
        yield Namespace(log, topics, make_topics(log, topics, settings, [QUEUE]))
    finally:
        log.close()


@contextmanager
def _stage(options: argparse.Namespace, settings: Settings, namespace: Namespace, folder: Path) -> Iterator[Stage]:
    stage: Stage
    if options.in_process:
        stage = Threads(settings, namespace)
    else:
        stage = Processes(settings, folder, processors=options.processes, workers=options.workers)
    try:
        stage.start()
        yield stage
    finally:
        stage.stop()


def _kills(options: argparse.Namespace, flights: int, stage: Stage, console: Console) -> Kills:
    if not options.kill or not isinstance(stage, Processes):
        return NO_KILLS
    return Kills(options.seed, flights, stage, lambda line: report.say(console, line))


def _settings(options: argparse.Namespace, folder: Path) -> Settings:
    """Load the settings: by default a temporary embedded log, and state in the run's folder. Raises SettingsError."""
    log = options.log or os.environ.get("PENSTOCK_LOG") or f"embedded:{folder / 'log'}"
    flags = {"log": log, "namespace": options.namespace, "data": str(folder / "state")}
    settings = load(flags, os.environ)
    if settings.embedded and settings.log_file is None:
        if not options.in_process:
            raise SettingsError("a log in memory cannot be shared by processes: add --in-process, or give a file")
        return load({**flags, "data": None}, os.environ)
    return settings


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m examples.flights", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--days", type=_days, default=1, help="the first N days of 2013, 1 to 365 (default 1)")
    parser.add_argument("--log", metavar="URL", help="embedded:PATH or kafka://HOST:PORT (default: a temporary one)")
    parser.add_argument("--namespace", default="flights", help="namespace of the topics (default flights)")
    parser.add_argument("--folder", help="folder for totals, state and process logs (default: a temporary one)")
    parser.add_argument("--in-flight", type=_count, default=IN_FLIGHT_MAX, help="flights in flight at once")
    parser.add_argument("--processes", type=_count, default=1, help="processors (default 1)")
    parser.add_argument("--workers", type=_count, default=2, help="workers (default 2)")
    parser.add_argument("--in-process", action="store_true", help="one processor and one worker in this process")
    parser.add_argument("--kill", action="store_true", help="kill a processor and a worker twice each during the run")
    parser.add_argument("--seed", type=int, default=1, help="seed of the kills (default 1)")
    options = parser.parse_args()
    if options.kill and options.in_process:
        parser.error("--kill needs separate processes: leave out --in-process")
    return options


def _days(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= data.DAYS_MAX:
        raise argparse.ArgumentTypeError(f"{text} is not a number of days from 1 to {data.DAYS_MAX}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 1 or more")
    return int(text)


def _exit_on_sigterm() -> None:
    """Exit on SIGTERM as on Ctrl-C, so that all processes are stopped."""

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


if __name__ == "__main__":
    sys.exit(main())
