"""Progress within a partition: a low watermark, and the finished offsets above it, both kept in the committed offset.

Tasks of one partition finish in any order, and a Kafka group commits one offset. That offset is the low watermark (the
first delivered task that is not done), and its metadata lists the finished offsets above it. The partition's next
owner starts at the watermark and skips those.

Offsets may have gaps (transaction markers, aborted records). Offsets between two records that were delivered one
after the other will never be delivered, so they count as done, which keeps the list short.

Metadata: one letter for the form, then base 85. `r`: lengths of ranges from the watermark on, open and done in turn,
as LEB128 varints. `b`: a bitmap from the watermark on, lowest bit first, 1 for done. The form that holds more finished
offsets is used. Both omit the highest offsets beyond the size limit; those tasks are run again.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator

METADATA_BYTES_MAX = 4_096  # Kafka's offset.metadata.max.bytes

Range = tuple[int, int]
"""start <= offset < stop."""


class Progress:
    """Progress of one granted partition. Used by one thread."""

    __slots__ = ("_next", "_open", "_skip", "_skip_at")

    def __init__(self, offset: int, metadata: str = "") -> None:
        """Continue from a committed offset and its metadata; unreadable metadata counts as empty."""
        self._next = offset
        self._open: dict[int, None] = {}  # delivered and not done, in offset order
        self._skip = from_metadata(offset, metadata)  # finished by an earlier owner, not delivered yet
        self._skip_at = 0  # _skip[:_skip_at] is below _next

    def delivered(self, offset: int) -> bool:
        """Note the delivery of a record. Returns whether it is to be run."""
        if offset < self._next:
            return False  # delivered before, so it is running or done
        self._next = offset + 1
        while self._skip_at < len(self._skip) and self._skip[self._skip_at][1] <= offset:
            self._skip_at += 1
        if self._skip_at < len(self._skip) and self._skip[self._skip_at][0] <= offset:
            return False
        self._open[offset] = None
        return True

    def finished(self, offset: int) -> None:
        """Note that the task at `offset` is done and its result acknowledged. Idempotent."""
        self._open.pop(offset, None)

    @property
    def watermark(self) -> int:
        """Offset to commit; every delivered task below it is done."""
        return next(iter(self._open), self._next)

    def skip_to(self, offset: int) -> None:
        """Skip the undelivered offsets below `offset`, which were deleted."""
        self._next = max(self._next, offset)

    def skip(self, ranges: Iterable[Range]) -> None:
        """Count these offsets as finished; those of them that were not delivered yet will not be run."""
        ahead = [(max(start, self._next), stop) for start, stop in [*self._skip, *ranges] if stop > self._next]
        self._skip, self._skip_at = _merged(ahead), 0

    @property
    def next_offset(self) -> int:
        """Offset of the next delivery."""
        return self._next

    @property
    def open_count(self) -> int:
        """Number of delivered tasks that are not done."""
        return len(self._open)

    def metadata(self, characters_max: int = METADATA_BYTES_MAX) -> str:
        """Encode the finished offsets above the watermark for a commit; empty if there are none."""
        return to_metadata(self.watermark, self.done(), characters_max)

    def done(self) -> list[Range]:
        """Return the finished offsets at or above the watermark as disjoint ranges in order."""
        ranges: list[Range] = []
        at = self.watermark
        for offset in self._open:
            if offset > at:
                ranges.append((at, offset))
            at = offset + 1
        if self._next > at:
            ranges.append((at, self._next))
        ahead = self._skip[self._skip_at :]
        ranges.extend((max(start, self._next), stop) for start, stop in ahead if stop > self._next)
        return _joined(ranges)


def to_metadata(watermark: int, done: Iterable[Range], characters_max: int = METADATA_BYTES_MAX) -> str:
    """Encode disjoint ranges in order, none below the watermark, as text of at most `characters_max`."""
    ranges = list(done)
    if not ranges:
        return ""
    bytes_max = (characters_max - 1) * 4 // 5  # base 85: five characters for four bytes
    runs, runs_end = _runs(watermark, ranges, bytes_max)
    if runs_end == ranges[-1][1]:
        return "r" + base64.b85encode(runs).decode()
    covered = watermark + bytes_max * 8
    if _count(ranges, covered) > _count(ranges, runs_end):
        return "b" + base64.b85encode(_bitmap(watermark, ranges, covered)).decode()
    return "r" + base64.b85encode(runs).decode() if runs else ""


def from_metadata(watermark: int, metadata: str) -> list[Range]:
    """Decode the ranges that `to_metadata` encoded; none if the text is unreadable.

    Ignores the text behind the first space, which holds claims (claims.py)."""
    metadata = metadata.partition(" ")[0]
    try:
        data = base64.b85decode(metadata[1:])
        if metadata.startswith("r"):
            return list(_read_runs(watermark, data))
        if metadata.startswith("b"):
            return list(_read_bitmap(watermark, data))
    except (ValueError, IndexError):
        pass
    return []


def _runs(watermark: int, ranges: list[Range], bytes_max: int) -> tuple[bytes, int]:
    """Encode as many whole ranges as fit; returns them and the offset at which they end."""
    data = bytearray()
    at = watermark
    for start, stop in ranges:
        pair = _varint(start - at) + _varint(stop - start)
        if len(data) + len(pair) > bytes_max:
            break
        data += pair
        at = stop
    return bytes(data), at


def _read_runs(watermark: int, data: bytes) -> Iterator[Range]:
    at, position = watermark, 0
    while position < len(data):
        open_length, position = _read_varint(data, position)
        done_length, position = _read_varint(data, position)
        start, at = at + open_length, at + open_length + done_length
        yield start, at


def _bitmap(watermark: int, ranges: list[Range], covered: int) -> bytes:
    bits = 0
    for start, stop in ranges:
        length = min(stop, covered) - start
        if length <= 0:
            break
        bits |= ((1 << length) - 1) << (start - watermark)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def _read_bitmap(watermark: int, data: bytes) -> Iterator[Range]:
    """Yield the runs of ones, found by the lowest set and the lowest clear bit in turn."""
    bits, at = int.from_bytes(data, "little"), watermark
    while bits:
        open_length = (bits & -bits).bit_length() - 1
        bits >>= open_length
        done_length = (~bits & (bits + 1)).bit_length() - 1
        bits >>= done_length
        start, at = at + open_length, at + open_length + done_length
        yield start, at


def _count(ranges: list[Range], stop: int) -> int:
    """Count the offsets below `stop` in the ranges."""
    return sum(max(0, min(end, stop) - start) for start, end in ranges)


def _merged(ranges: list[Range]) -> list[Range]:
    """Sort ranges and join those that overlap or are adjacent."""
    merged: list[Range] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged


def _joined(ranges: list[Range]) -> list[Range]:
    """Join adjacent ranges."""
    joined: list[Range] = []
    for start, stop in ranges:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def _varint(value: int) -> bytes:
    """Encode as unsigned LEB128: seven bits a byte, lowest first, the high bit set while more follow."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
