"""Encoding of claims in a commit's metadata (workers/intake/claims.py)."""

from __future__ import annotations

import random

import pytest

from penstock.workers.intake.claims import CLAIMS_CHARACTERS_MAX, Claim, decode_claims, encode_claims
from penstock.workers.intake.progress import METADATA_BYTES_MAX, Progress, to_metadata


def test_claims_survive_a_commit() -> None:
    """Claims are decoded as they were encoded, beside finished offsets, within half of the metadata."""
    chance = random.Random(20261125)
    for _ in range(300):
        watermark = chance.randrange(1_000_000)
        claims = [
            Claim(
                f"rdkafka-{number}",
                {chance.randrange(64): chance.randrange(10**9) for _ in range(chance.randrange(1, 3))},
                tuple(sorted(chance.sample(range(watermark, watermark + 400), chance.randrange(1, 60)))),
            )
            for number in range(chance.randrange(4))
        ]
        text = encode_claims(watermark, claims)
        assert len(text) <= CLAIMS_CHARACTERS_MAX
        assert decode_claims(watermark, f"{to_metadata(watermark, [(watermark + 1, watermark + 2)])}{text}") == claims


def test_claims_that_do_not_fit_are_left_out() -> None:
    """Of more claims than a commit can hold some are kept, and all of those are readable."""
    claims = [Claim(f"worker-{number}", {0: number}, tuple(range(number, 40_000, 97))) for number in range(9)]
    text = encode_claims(0, claims)
    assert 0 < len(text) <= CLAIMS_CHARACTERS_MAX
    kept = decode_claims(0, text)
    assert kept
    for read, written in zip(kept, claims, strict=False):
        assert set(read.offsets) <= set(written.offsets)


@pytest.mark.parametrize("text", ["", " ", " x", " x,1:2", " x,1,r", " x,a:b,r", " ,,", "rzz x,1:2,~~~"])
def test_unreadable_claims_count_as_none(text: str) -> None:
    """Unreadable text decodes to no claimed offset."""
    assert [claim.offsets for claim in decode_claims(0, text) if claim.offsets] == []


def test_finished_offsets_are_read_beside_claims() -> None:
    """Claims in a commit's metadata do not change the finished offsets."""
    progress = Progress(0)
    for offset in range(6):
        progress.delivered(offset)
    for offset in (1, 3, 4):
        progress.finished(offset)
    text = encode_claims(progress.watermark, [Claim("other", {0: 1}, (2,))])
    read = Progress(0, progress.metadata(METADATA_BYTES_MAX - len(text)) + text)
    assert [offset for offset in range(6) if read.delivered(offset)] == [0, 2, 5]
