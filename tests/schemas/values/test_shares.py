"""Tests of shares as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.schemas.errors import BadInput
from penstock.schemas.values.shares import parse_share, share_text


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ("10%", 1_000),
        (" 12.5 % ", 1_250),
        ("0.01%", 1),
        ("0%", 0),
        ("100%", 10_000),
        ("100.00%", 10_000),
        (0.1, 1_000),
        (0.29, 2_900),
        (0, 0),
        (1, 10_000),
    ],
)
def test_a_share_is_a_percentage_or_a_fraction(given: Any, share: int) -> None:
    """A percentage, or a number from 0 to 1, is counted in ten-thousandths."""
    assert parse_share(given) == share


@pytest.mark.parametrize(
    "given",
    [
        "110%",
        "100.01%",
        "-1",
        "-1%",
        "ten",
        "10",
        "",
        "%",
        "0.001%",
        "1e1%",
        "١%",
        1.5,
        -0.1,
        True,
        None,
        0.00001,
        float("nan"),
    ],
)
def test_another_share_is_refused(given: Any) -> None:
    """Anything else is refused with one sentence that shows a share."""
    with pytest.raises(BadInput, match=r"^A share is a percentage from 0% to 100% .*, such as '10%', not .*\.$"):
        parse_share(given)


@pytest.mark.parametrize(("share", "text"), [(0, "0%"), (1, "0.01%"), (1_250, "12.5%"), (10_000, "100%")])
def test_a_share_is_shown_as_a_percentage(share: int, text: str) -> None:
    """A share is shown without zeros at its end, and is read again."""
    assert share_text(share) == text
    assert parse_share(text) == share
