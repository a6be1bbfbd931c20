"""What commits say about a partition's holder (workers/intake/holding.py)."""

from __future__ import annotations

import pytest

from penstock.workers.intake.claims import Claim, decode_claims, encode_claims
from penstock.workers.intake.holding import (
    ALONE,
    BESIDE,
    DEADLY,
    LEVEL_MAX,
    MARKS_CHARACTERS_MAX,
    WAITING,
    Holding,
    Mark,
    decode_holding,
    encode_holding,
)


def test_a_holding_is_read_beside_progress_and_claims() -> None:
    """A new owner reads the holder, how far it may have begun, and its suspects above the watermark."""
    marks = {9: Mark(0, ALONE), 12: Mark(1, WAITING), 15: Mark(1, WAITING), 3: Mark(0, BESIDE)}
    claim = Claim("other", {0: 4}, (11,))
    metadata = "rabc" + encode_claims(8, [claim]) + encode_holding(8, Holding("me", 50, marks))
    del marks[3]  # done
    assert decode_holding(8, metadata) == Holding("me", 50, marks)
    assert decode_claims(8, metadata) == [claim]


@pytest.mark.parametrize("metadata", ["", "rabc", "rabc x,0:4,rabc", " ~", " ~x:me", " ~-1:me"])
def test_a_partition_without_a_holding_was_released_in_order(metadata: str) -> None:
    """No holding is read from metadata without one, or from text that is none."""
    assert decode_holding(0, metadata) is None


def test_marks_are_bounded() -> None:
    """Thousands of suspects take no more room than a commit has for them."""
    marks = {offset: Mark(offset % 3, WAITING) for offset in range(0, 40_000, 7)}
    assert len(encode_holding(0, Holding("me", 40_000, marks))) <= MARKS_CHARACTERS_MAX + 40


def test_a_suspect_that_was_alone_was_deadly() -> None:
    """After its holder's end, a suspect that ran alone was the reason; one beside others after its last level."""
    assert Mark(0, ALONE).inherited == Mark(0, DEADLY)
    assert Mark(0, BESIDE).inherited == Mark(1, WAITING)
    assert Mark(LEVEL_MAX, BESIDE).inherited == Mark(LEVEL_MAX, DEADLY)
    assert Mark(2, WAITING).inherited == Mark(2, WAITING)
    assert Mark(0, DEADLY).inherited == Mark(0, DEADLY)
