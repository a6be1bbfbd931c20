"""How much a turn takes: inputs, due timers, records and bytes; less after aborts, until single inputs are isolated."""

from __future__ import annotations

import msgspec

from penstock.engine.core.keys import NEVER_MS
from penstock.engine.runtime.due import DUE_MAX

TURN_RECORDS_MAX = 40_000
TURN_BYTES_MAX = 32 * 1024 * 1024
"""Records and bytes after which a turn takes no more: a second's work of a broker, whose transactions last 10 s."""

TIMERS_SHARE = 4
"""A turn that inputs have filled still has room for due timers: this part of its bounds."""


class Room(msgspec.Struct):
    """What a turn may still take, shared by its layers. Its last decision may exceed it."""

    records: int = NEVER_MS
    bytes: int = NEVER_MS

    @property
    def is_used(self) -> bool:
        """Whether no further input fits."""
        return self.records <= 0 or self.bytes <= 0

    def use(self, records: int, size: int) -> None:
        """Take room for that many records with so many bytes."""
        self.records -= records
        self.bytes -= size


class Pace:
    """Bounds of the next turn.

    A turn that fails may have been unlucky. One that fails again is halved, inputs and timers alike, until a turn holds
    a single input or a single timer; turns that commit grow again."""

    def __init__(self, inputs_max: int, records_max: int = TURN_RECORDS_MAX, bytes_max: int = TURN_BYTES_MAX) -> None:
        self._inputs_max, self._records_max, self._bytes_max = inputs_max, records_max, bytes_max
        self.inputs = inputs_max
        self._failures = 0

    @property
    def isolates(self) -> bool:
        """Whether the next turn holds one input, or one due timer, alone."""
        return self.inputs == 1 and self._failures > 0

    @property
    def timers(self) -> int:
        """Due timers of a shard in the next turn."""
        return max(1, DUE_MAX * self.inputs // self._inputs_max)

    def room(self) -> Room:
        """Room of a turn."""
        return Room(self._records_max, self._bytes_max)

    def extend(self, room: Room) -> None:
        """Give due timers room in a turn that inputs have filled."""
        room.records = max(room.records, self._records_max // TIMERS_SHARE)
        room.bytes = max(room.bytes, self._bytes_max // TIMERS_SHARE)

    def failed(self, *, certain: bool) -> None:
        """A turn did not commit. `certain`: it would not commit the next time either."""
        self._failures += 1
        if certain or self._failures > 1:
            self.inputs = max(1, self.inputs // 2)

    def committed(self) -> None:
        """A turn did commit."""
        self._failures = 0
        self.inputs = min(self.inputs * 2, self._inputs_max)
