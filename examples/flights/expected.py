"""Expected totals, computed by pandas from the tables without workflows or topics."""

from __future__ import annotations

import pandas as pd

from examples.flights.data import YEAR, folder
from examples.flights.departures import DESK_DISTANCE_MIN
from examples.flights.totals import COLUMNS, Row
from examples.flights.workflow import DESK_MIN, LATE_MIN, SPARE_SEATS


def totals(days: int) -> dict[str, Row]:
    """Return the totals by carrier for the year's first `days` days."""
    table = _joined(days)
    cancelled = table["dep_time"].isna()
    delay = table["dep_delay"].where(~cancelled)
    asked = delay > DESK_MIN
    denied = asked & (table["distance"] < DESK_DISTANCE_MIN)
    helped = (cancelled | (delay > LATE_MIN)) & ~denied
    stranded = helped & (table["seats"] > SPARE_SEATS)
    counts = pd.DataFrame(
        {
            "carrier": table["carrier"],
            "flights": 1,
            "cancelled": cancelled,
            "rebooked": helped & ~stranded,
            "stranded": stranded,
            "approved": asked & ~denied,
            "denied": denied,
            "delay_min": delay.fillna(0),
            "seats": table["seats"].fillna(0),
            "no_plane": table["seats"].isna(),
            "no_weather": table["weather"].isna(),
        }
    )
    sums = counts.groupby("carrier").sum().astype(int)
    return {str(carrier): {column: int(row[column]) for column in COLUMNS} for carrier, row in sums.iterrows()}


def _joined(days: int) -> pd.DataFrame:
    """Return the flights, each with its plane's seats and whether the weather of its hour is known."""
    read = ("year", "month", "day", "dep_time", "dep_delay", "carrier", "tailnum", "origin", "distance", "time_hour")
    flights = pd.read_csv(folder() / "flights.csv.zip", usecols=list(read))
    dates = pd.to_datetime(flights[["year", "month", "day"]])
    flights = flights[dates < pd.Timestamp(YEAR, 1, 1) + pd.Timedelta(days=days)]
    planes = pd.read_csv(folder() / "planes.csv", usecols=["tailnum", "seats"])
    weather = pd.read_csv(folder() / "weather.csv", usecols=["origin", "time_hour"]).assign(weather=1)
    return flights.merge(planes, on="tailnum", how="left").merge(weather, on=["origin", "time_hour"], how="left")
