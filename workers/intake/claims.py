"""Claims: the tasks of a released partition that go on running at their worker (handover.py).

A worker that releases a partition appends its claims to its last commit's metadata, behind the finished offsets
(progress.py). Each claim begins with a space: `holder,shard:offset/shard:offset,offsets`, with `offsets` encoded as
the finished ones are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from penstock.workers.intake.progress import from_metadata, to_metadata

CLAIMS_CHARACTERS_MAX = 2_048
"""Half of a commit's metadata. A task whose claim does not fit is run again by the next owner."""


class Claim(msgspec.Struct, frozen=True):
    """Tasks that a worker keeps running. `holder`: its name in the group. `results_start`: the first offset at which
    their results can be, by shard. `offsets`: the tasks' offsets in their partition."""

    holder: str
    results_start: Mapping[int, int]
    offsets: tuple[int, ...]


def encode_claims(watermark: int, claims: Iterable[Claim]) -> str:
    """Encode claims for a commit at `watermark`: empty, or each behind a space; at most CLAIMS_CHARACTERS_MAX."""
    text = ""
    for claim in claims:
        head = f" {claim.holder},{'/'.join(f'{shard}:{offset}' for shard, offset in claim.results_start.items())},"
        room = CLAIMS_CHARACTERS_MAX - len(text) - len(head)
        ranges = [(offset, offset + 1) for offset in sorted(claim.offsets) if offset >= watermark]
        if ranges and room > 0 and (offsets := to_metadata(watermark, ranges, room)):
            text += head + offsets
    return text


def decode_claims(watermark: int, metadata: str) -> list[Claim]:
    """Return the claims in a commit's metadata, without the unreadable ones."""
    return [claim for text in metadata.split(" ")[1:] if (claim := _decode_claim(watermark, text)) is not None]


def _decode_claim(watermark: int, text: str) -> Claim | None:
    try:
        holder, starts, encoded = text.split(",", 2)
        results_start = {
            int(shard): int(start) for shard, _, start in (one.partition(":") for one in starts.split("/"))
        }
    except ValueError:
        return None
    ranges = from_metadata(watermark, encoded)
    return Claim(holder, results_start, tuple(offset for start, stop in ranges for offset in range(start, stop)))
