"""What is shown at the end? The totals as a table, and in one line whether they are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from examples.flights.totals import COLUMNS, Row
from penstock.config import Settings

HEADINGS = {"delay_min": "delay min", "no_plane": "no plane", "no_weather": "no weather"}
NARROW_COLUMNS = 8
WIDE = 130
DIFFERENCES_SHOWN = 10


def opening(flights: int, days: int, settings: Settings) -> str:
    """What is about to happen."""
    log = settings.log.partition("?")[0]
    period = "1 January 2013" if days == 1 else f"the first {days} days of 2013"
    return f"{flights:,} departures from New York, {period}; each a workflow of namespace {settings.namespace} on {log}"


def table(console: Console, counted: Mapping[str, Row], airlines: Mapping[str, str]) -> None:
    """The totals by carrier, and their sum; on a narrow terminal without the last columns and the airlines' names."""
    wide = console.width >= WIDE
    columns = COLUMNS if wide else COLUMNS[:NARROW_COLUMNS]
    shown = Table(box=None, show_footer=True, padding=(0, 1, 0, 0), pad_edge=False, footer_style="bold")
    shown.add_column("", "all", no_wrap=True)
    for column in columns:
        total = sum(row[column] for row in counted.values())
        shown.add_column(HEADINGS.get(column, column), f"{total:,}", justify="right", no_wrap=True)
    for carrier, row in counted.items():
        shown.add_row(airlines[carrier] if wide else carrier, *(f"{row[column]:,}" for column in columns))
    console.print(shown, highlight=False)


def verdict(
    console: Console,
    wanted: Mapping[str, Row],
    counted: Mapping[str, Row],
    unfinished: Sequence[tuple[str, str, str]],
    seconds: float,
    file: Path,
) -> int:
    """Say whether the totals are equal to what pandas computed; 0 if so, else 1 and what differs."""
    found = [*differences(wanted, counted), *(f"{id} {status}: {message}" for id, status, message in unfinished)]
    flights = sum(row["flights"] for row in counted.values())

    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    for line in found[:DIFFERENCES_SHOWN]:
        say(f"  {line}", "red")
    if found:
        say(f"DIFFERENT: {len(found)} differences from what pandas computes from the table", "bold red")
    else:
        say(f"EQUAL: all {len(wanted)} airlines' totals are what pandas computes from the table", "bold green")
    say(f"{flights:,} flights in {seconds:.1f} s, {flights / seconds:,.0f} a second")
    say(f"totals: {file} (sqlite3, tables totals, unfinished, offsets)")
    return 1 if found else 0


def differences(wanted: Mapping[str, Row], counted: Mapping[str, Row]) -> list[str]:
    """Where the totals are not as wanted, one line each."""
    nothing = dict.fromkeys(COLUMNS, 0)
    return [
        f"{carrier} {column}: {counted.get(carrier, nothing)[column]:,}, must be {wanted.get(carrier, nothing)[column]:,}"
        for carrier in sorted({*wanted, *counted})
        for column in COLUMNS
        if counted.get(carrier, nothing)[column] != wanted.get(carrier, nothing)[column]
    ]
