"""Workflow of a flight: looks it up, and rebooks the passengers of a cancelled or very late one.

The delay is that of the departure, which an airline knows while passengers can still be rebooked.

    up to 180 minutes          flown
    cancelled, or over 180     seats are held and booked, passengers are notified: rebooked
    over 300                   as above, after the desk's decision: rebooked, or denied
    no seat left               hold and booking are undone: stranded
"""

from __future__ import annotations

import asyncio
import datetime as dt

import msgspec

from examples.flights import data
from examples.flights.data import Flight, Plane, Weather
from penstock import ActivityFailedError, Saga, Signal, activity, workflow

LATE_MIN = 180
DESK_MIN = 300
SPARE_SEATS = 150  # the passengers of a larger plane cannot be rebooked

FLOWN, REBOOKED, STRANDED, DENIED = "flown", "rebooked", "stranded", "denied"


class Decision(msgspec.Struct, frozen=True):
    """The desk's decision on a rebooking."""

    ok: bool
    by: str


class Outcome(msgspec.Struct, frozen=True):
    """The workflow's result. `end` is flown, rebooked, stranded or denied."""

    date: dt.date
    carrier: str
    airline: str
    end: str
    dep_delay: int | None
    asked: bool
    plane: Plane | None
    weather: Weather | None


class NoSeatLeft(Exception):
    """The other airlines are full; a retry would not help."""


class NotApproved(Exception):
    """The desk denied the rebooking."""


approval = Signal("approval", Decision)


@workflow
async def flight(flight: Flight) -> Outcome:
    """Look the flight up, and rebook its passengers if it is cancelled or very late."""
    airline, plane, weather = await asyncio.gather(
        airline_of(flight.carrier), plane_of(flight.tailnum), weather_at(flight.origin, flight.hour)
    )
    end = await rebooked(flight, plane) if needs_rebooking(flight) else FLOWN
    return Outcome(
        date=flight.date,
        carrier=flight.carrier,
        airline=airline,
        end=end,
        dep_delay=flight.dep_delay,
        asked=needs_approval(flight),
        plane=plane,
        weather=weather,
    )


async def rebooked(flight: Flight, plane: Plane | None) -> str:
    """Book the passengers on another flight, or undo every step. Returns `rebooked`, `stranded` or `denied`."""
    try:
        async with Saga() as saga:
            await saga.do(hold_seats(flight.name), undo=release_seats(flight.name))
            if needs_approval(flight):
                decision = await approval.wait(timeout="12h")
                if not decision.ok:
                    raise NotApproved(decision.by)
            booking = await saga.do(book(flight.name, plane.seats if plane else None), undo=cancel_booking(flight.name))
            await saga.do(notify(booking, flight.dest))
    except NotApproved:
        return DENIED
    except ActivityFailedError as error:
        if not error.is_(NoSeatLeft):
            raise
        return STRANDED
    return REBOOKED


def needs_rebooking(flight: Flight) -> bool:
    """Return whether the flight is cancelled or very late."""
    return flight.dep_delay is None or flight.dep_delay > LATE_MIN


def needs_approval(flight: Flight) -> bool:
    """Return whether the delay is so long that the desk must approve the rebooking."""
    return flight.dep_delay is not None and flight.dep_delay > DESK_MIN


@activity
async def airline_of(carrier: str) -> str:
    """Return the airline's name."""
    return data.airlines()[carrier]


@activity
async def plane_of(tailnum: str | None) -> Plane | None:
    """Return the plane, None if the flight has no tail number or the register does not contain it."""
    return data.planes().get(tailnum) if tailnum else None


@activity
async def weather_at(origin: str, hour: str) -> Weather | None:
    """Return the weather in the hour of departure, None if it is missing."""
    return data.weather().get((origin, hour))


@activity
async def hold_seats(flight: str) -> str:
    """Hold seats on a later flight."""
    return f"hold-{flight}"


@activity
async def release_seats(flight: str) -> None:
    """Release the seats; no effect if none were held."""


@activity(timeout="30s", non_retryable=(NoSeatLeft,))
async def book(flight: str, seats: int | None) -> str:
    """Book the held seats. Raises NoSeatLeft if the plane has more than SPARE_SEATS seats."""
    if seats is not None and seats > SPARE_SEATS:
        raise NoSeatLeft(f"no room for the {seats} passengers of {flight}")
    return f"booking-{flight}"


@activity
async def cancel_booking(flight: str) -> None:
    """Cancel the booking; no effect if there is none."""


@activity
def notify(booking: str, dest: str) -> str:
    """Notify the passengers. A plain function, so it runs in a thread."""
    return f"you fly to {data.airports().get(dest, dest)} with {booking}"
