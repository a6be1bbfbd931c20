"""Which tasks of a partition run somewhere else? Marks that a worker leaves with its last commit (handover.py).

In the commit's metadata they follow what is done (progress.py), each behind a space:
`holder,shard:offset/shard:offset,offsets`, where `offsets` are written as what is done is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from penstock.workers.intake.progress import from_metadata, to_metadata

MARKS_CHARACTERS_MAX = 2_048  # half of a commit's metadata; what is not told is only run again


class Mark(msgspec.Struct, frozen=True):
    """Tasks that a worker took along. `holder`: its name in the group. `results`: from which offset on their results
    lie, by shard. `offsets`: where the tasks lie in their partition."""

    holder: str
    results: Mapping[int, int]
    offsets: tuple[int, ...]


def to_text(watermark: int, marks: Iterable[Mark]) -> str:
    """The marks for a commit at that watermark: empty, or with a space before each; at most MARKS_CHARACTERS_MAX."""
    text = ""
    for mark in marks:
        head = f" {mark.holder},{'/'.join(f'{shard}:{offset}' for shard, offset in mark.results.items())},"
        room = MARKS_CHARACTERS_MAX - len(text) - len(head)
        ranges = [(offset, offset + 1) for offset in sorted(mark.offsets) if offset >= watermark]
        if ranges and room > 0 and (told := to_metadata(watermark, ranges, room)):
            text += head + told
    return text


def from_text(watermark: int, metadata: str) -> list[Mark]:
    """The marks in a commit's metadata; unreadable ones are left out."""
    return [mark for text in metadata.split(" ")[1:] if (mark := _mark(watermark, text)) is not None]


def _mark(watermark: int, text: str) -> Mark | None:
    try:
        holder, results, offsets = text.split(",", 2)
        starts = {int(shard): int(offset) for shard, _, offset in (one.partition(":") for one in results.split("/"))}
    except ValueError:
        return None
    told = tuple(offset for first, stop in from_metadata(watermark, offsets) for offset in range(first, stop))
    return Mark(holder, starts, told)
