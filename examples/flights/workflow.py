"""What happens with a flight? It is looked up; cancelled or very late, its passengers are booked on another one.

Late means late to depart: that is what an airline knows while its passengers can still be helped.

    up to 180 minutes          flown
    cancelled, or over 180     seats are held, booked, and the passengers told: rebooked
    over 300                   as before, but first the desk must approve: approved, or denied
    no seat left               what was held and booked is undone: stranded
"""

from __future__ import annotations

import asyncio
import datetime as dt

import msgspec

from examples.flights import data
from examples.flights.data import Flight, Plane, Weather
from penstock import ActivityFailed, Saga, Signal, activity, workflow

LATE_MIN = 180
DESK_MIN = 300
SPARE_SEATS = 150  # a larger plane's passengers do not find room

FLOWN, REBOOKED, STRANDED, DENIED = "flown", "rebooked", "stranded", "denied"


class Decision(msgspec.Struct, frozen=True):
    """What the desk says of a rebooking that it has to approve."""

    ok: bool
    by: str


class Outcome(msgspec.Struct, frozen=True):
    """What became of a flight: the workflow's result. `end` is flown, rebooked, stranded or denied."""

    date: dt.date
    carrier: str
    airline: str
    end: str
    dep_delay: int | None
    asked: bool
    plane: Plane | None
    weather: Weather | None


class NoSeatLeft(Exception):
    """The other airlines are full; asking again would not help."""


class NotApproved(Exception):
    """The desk refused."""


approval = Signal("approval", Decision)


@workflow
async def flight(flight: Flight) -> Outcome:
    """Look the flight up, and help its passengers if it does not leave in time."""
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
    """Book the passengers on another flight, or leave nothing behind: `rebooked`, `stranded` or `denied`."""
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
    except ActivityFailed as error:
        if not error.is_(NoSeatLeft):
            raise
        return STRANDED
    return REBOOKED


def needs_rebooking(flight: Flight) -> bool:
    """Cancelled, or too late to wait for."""
    return flight.dep_delay is None or flight.dep_delay > LATE_MIN


def needs_approval(flight: Flight) -> bool:
    """So late that hotels and meals are due: somebody has to look at it."""
    return flight.dep_delay is not None and flight.dep_delay > DESK_MIN


@activity
async def airline_of(carrier: str) -> str:
    """The airline's name."""
    return data.airlines()[carrier]


@activity
async def plane_of(tailnum: str | None) -> Plane | None:
    """The plane, if the flight names one and the register has it."""
    return data.planes().get(tailnum) if tailnum else None


@activity
async def weather_at(origin: str, hour: str) -> Weather | None:
    """The weather in the hour of departure, if it was written down."""
    return data.weather().get((origin, hour))


@activity
async def hold_seats(flight: str) -> str:
    """Put seats on a later flight aside."""
    return f"hold-{flight}"


@activity
async def release_seats(flight: str) -> None:
    """Give the seats back; harmless if none were held."""


@activity(timeout="30s", non_retryable=(NoSeatLeft,))
async def book(flight: str, seats: int | None) -> str:
    """Turn the held seats into a booking. Raises NoSeatLeft for a plane too large to find room for."""
    if seats is not None and seats > SPARE_SEATS:
        raise NoSeatLeft(f"no room for the {seats} passengers of {flight}")
    return f"booking-{flight}"


@activity
async def cancel_booking(flight: str) -> None:
    """Give the booking back; harmless if there is none."""


@activity
def notify(booking: str, dest: str) -> str:
    """Tell the passengers; a plain function, so it runs in a thread."""
    return f"you fly to {data.airports().get(dest, dest)} with {booking}"
