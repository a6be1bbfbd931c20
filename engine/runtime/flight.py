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


SUBMITTING: Future[Outcome] = Future()
"""In place of the future of a turn that is being submitted."""


class InFlight(msgspec.Struct, frozen=True):
    """A turn that is being committed.

    `suspect`, if it was isolated: its only input, the key of its only timer, or the id of its only retried run."""

    layers: list[Layer]
    future: Future[Outcome]
    deadline_s: float
    suspect: StoredRecord | bytes | str | None

    def is_the_turn_of(self, other: InFlight | None) -> bool:
        """Whether that is the same turn, submitted by now or not."""
        return other is not None and other.layers is self.layers
