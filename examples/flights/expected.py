"""What must the totals be? What pandas computes straight from the tables: no workflow, no topic takes part."""

from __future__ import annotations

import pandas as pd

from examples.flights.data import YEAR, folder
from examples.flights.departures import DESK_DISTANCE_MIN
from examples.flights.totals import COLUMNS, Row
from examples.flights.workflow import DESK_MIN, LATE_MIN, SPARE_SEATS


def totals(days: int) -> dict[str, Row]:
    """Totals by carrier of the departures of the year's first `days` days."""
    table = _joined(days)
    cancelled = table["dep_time"].isna()
    delay = table["dep_delay"].where(~cancelled)
    asked = delay > DESK_MIN
    denied = asked & (table["distance"] < DESK_DISTANCE_MIN)
    helped = (cancelled | (delay > LATE_MIN)) & ~denied
    stranded = helped & (table["seats"] > SPARE_SEATS)
    facts = pd.DataFrame(
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
    sums = facts.groupby("carrier").sum().astype(int)
    return {str(carrier): {column: int(row[column]) for column in COLUMNS} for carrier, row in sums.iterrows()}


def _joined(days: int) -> pd.DataFrame:
    """The flights, each with its plane's seats and whether its hour's weather is known."""
    read = ("year", "month", "day", "dep_time", "dep_delay", "carrier", "tailnum", "origin", "distance", "time_hour")
    flights = pd.read_csv(folder() / "flights.csv.zip", usecols=list(read))
    dates = pd.to_datetime(flights[["year", "month", "day"]])
    flights = flights[dates < pd.Timestamp(YEAR, 1, 1) + pd.Timedelta(days=days)]
    planes = pd.read_csv(folder() / "planes.csv", usecols=["tailnum", "seats"])
    weather = pd.read_csv(folder() / "weather.csv", usecols=["origin", "time_hour"]).assign(weather=1)
    return flights.merge(planes, on="tailnum", how="left").merge(weather, on=["origin", "time_hour"], how="left")
