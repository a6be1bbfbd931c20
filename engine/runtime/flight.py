"""A turn of the driver, while it is gathered and while it is committed."""

from __future__ import annotations

from concurrent.futures import Future

import msgspec

from penstock.engine.runtime.overlay import Layer
from penstock.engine.runtime.pace import Room
from penstock.topics.commit import Outcome
from penstock.topics.log import StoredRecord


class Gathered(msgspec.Struct):
    """Inputs in the open layers: their number, the clock they were read at (epoch), the only one if it is isolated."""

    clock_ms: int
    room: Room
    records: int = 0
    suspect: StoredRecord | None = None


class InFlight(msgspec.Struct, frozen=True):
    """A turn that is being committed.

    `suspect`, if it was isolated: its only input, the key of its only timer, or the id of its only retried run."""

    layers: list[Layer]
    future: Future[Outcome]
    deadline_s: float
    suspect: StoredRecord | bytes | str | None
