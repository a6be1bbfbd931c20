"""What the holder of a partition may have begun, as its commits say: the basis of a takeover from a dead worker.

A worker that holds a partition says so in the metadata of each commit: ` ~<length>:<owner>`. `length` counts the
offsets from the watermark on that it may have begun; it begins none beyond them before a further commit. The last
commit of a worker that releases the partition in order has no such part. So a new owner that finds one knows that its
predecessor died, and which tasks may have been the reason: they are run one by one (suspects.py), and marked before:
` *<level><state><offsets>`, with the offsets encoded as finished ones are (progress.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.workers.intake.progress import from_metadata, to_metadata

MARKS_CHARACTERS_MAX = 1_024
LEVEL_MAX = 4
"""A task that was running at the end of so many workers, and one more, is counted although it was not alone."""

WAITING, BESIDE, ALONE, DEADLY = "w", "b", "a", "d"
"""States of a suspect: it waits; it runs beside others; alone; or it was the reason of a worker's end."""


class Mark(msgspec.Struct, frozen=True):
    """A suspect as commits say it. `level`: how many workers ended while it ran beside others."""

    level: int
    state: str

    @property
    def inherited(self) -> Mark:
        """The mark as another worker takes it over after the end of the one that wrote it."""
        if self.state == ALONE or (self.state == BESIDE and self.level >= LEVEL_MAX):
            return Mark(self.level, DEADLY)
        return Mark(self.level + 1, WAITING) if self.state == BESIDE else self


class Holding(msgspec.Struct, frozen=True):
    """`owner`: token of the consumer that holds the partition. `begun_below`: end of what it may have begun. `marks`:
    its suspects, by offset."""

    owner: str
    begun_below: int
    marks: Mapping[int, Mark]


def encode_holding(watermark: int, holding: Holding) -> str:
    """Encode for a commit at `watermark`; marks that do not fit are left out, those tasks are suspects of level 0."""
    text = f" ~{max(0, holding.begun_below - watermark)}:{holding.owner}"
    by_mark: dict[Mark, list[int]] = {}
    for offset, mark in sorted(holding.marks.items()):
        if offset >= watermark:
            by_mark.setdefault(mark, []).append(offset)
    room = MARKS_CHARACTERS_MAX
    for mark, offsets in by_mark.items():
        encoded = to_metadata(watermark, [(offset, offset + 1) for offset in offsets], max(1, room))
        if encoded:
            text += f" *{mark.level}{mark.state}{encoded}"
            room -= len(encoded) + 4
    return text


def decode_holding(watermark: int, metadata: str) -> Holding | None:
    """The holding in a commit's metadata; None if the partition was released in order, or the text is unreadable."""
    parts = metadata.split(" ")[1:]
    held = next((part[1:] for part in parts if part.startswith("~")), None)
    if held is None:
        return None
    length, _, owner = held.partition(":")
    if not length.isdecimal():
        return None
    marks = {offset: mark for part in parts if part.startswith("*") for offset, mark in _marks(watermark, part)}
    return Holding(owner, watermark + int(length), marks)


def _marks(watermark: int, part: str) -> list[tuple[int, Mark]]:
    level, state, encoded = part[1:2], part[2:3], part[3:]
    if not level.isdecimal() or state not in (WAITING, BESIDE, ALONE, DEADLY):
        return []
    mark = Mark(int(level), state)
    return [(offset, mark) for start, stop in from_metadata(watermark, encoded) for offset in range(start, stop)]
