"""Output of a run: its opening, its progress, the totals as a table, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.flights.totals import COLUMNS, Row
from penstock.config import Settings

HEADINGS = {"delay_min": "delay min", "no_plane": "no plane", "no_weather": "no weather"}
NARROW_COLUMNS = 8
WIDE = 130
DIFFERENCES_SHOWN = 10


class Counted(NamedTuple):
    """Counted totals: rows and names by carrier; id, status and message of runs that did not complete."""

    rows: Mapping[str, Row]
    airlines: Mapping[str, str]
    unfinished: list[tuple[str, str, str]]


def opening(console: Console, flights: int, days: int, settings: Settings) -> None:
    """Print the size of the run and its log."""
    log = settings.log.partition("?")[0]
    period = "on 1 January 2013" if days == 1 else f"in the first {days} days of 2013"
    say(console, f"{flights:,} departures from New York {period}, each a workflow")
    say(console, f"on {log}, namespace {settings.namespace}")


@contextmanager
def progress(console: Console, flights: int) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar; yields a function that takes the number of closed flights and the number in flight."""
    columns = (
        TextColumn("closed"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[in_flight]} in flight"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=flights, in_flight=0)
        yield lambda closed, in_flight: bar.update(task, completed=closed, in_flight=in_flight)


def table(console: Console, counted: Counted) -> None:
    """Print the totals by carrier, and their sum; a narrow terminal omits the last columns and the airlines' names."""
    wide = console.width >= WIDE
    columns = COLUMNS if wide else COLUMNS[:NARROW_COLUMNS]
    shown = Table(box=None, show_footer=True, padding=(0, 1, 0, 0), pad_edge=False, footer_style="bold")
    shown.add_column("", "all", no_wrap=True)
    for column in columns:
        total = sum(row[column] for row in counted.rows.values())
        shown.add_column(HEADINGS.get(column, column), f"{total:,}", justify="right", no_wrap=True)
    for carrier, row in counted.rows.items():
        name = counted.airlines[carrier] if wide else carrier
        shown.add_row(name, *(f"{row[column]:,}" for column in columns))
    console.print(shown, highlight=False)


def verdict(console: Console, wanted: Mapping[str, Row], counted: Counted, seconds: float, file: Path) -> int:
    """Print whether the totals equal those of pandas, and how they differ. Returns 0 if they are equal, else 1."""
    found = differences(wanted, counted.rows)
    found += [f"{id} {status}: {message}" for id, status, message in counted.unfinished]
    flights = sum(row["flights"] for row in counted.rows.values())
    for line in found[:DIFFERENCES_SHOWN]:
        say(console, f"  {line}", "red")
    if found:
        say(console, f"DIFFERENT: {len(found)} differences from what pandas computes from the table", "bold red")
    else:
        say(
            console,
            f"EQUAL: the totals of all {len(wanted)} airlines are those that pandas computes from the table",
            "bold green",
        )
    say(console, f"{flights:,} flights in {seconds:.1f} s, {flights / seconds:,.0f} per second")
    say(console, f"totals by airline: {file} (SQLite, table totals)")
    return 1 if found else 0


def differences(wanted: Mapping[str, Row], counted: Mapping[str, Row]) -> list[str]:
    """Return one line for each total that differs."""
    zeros = dict.fromkeys(COLUMNS, 0)
    lines = []
    for carrier in sorted({*wanted, *counted}):
        expected, found = wanted.get(carrier, zeros), counted.get(carrier, zeros)
        lines += [
            f"{carrier} {column}: counted {found[column]:,}, expected {expected[column]:,}"
            for column in COLUMNS
            if found[column] != expected[column]
        ]
    return lines


def say(console: Console, line: str, style: str = "") -> None:
    """Print one line without markup or wrapping."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
