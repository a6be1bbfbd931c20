"""Shares of new runs as people write them: percentages."""

from __future__ import annotations

import re

from penstock.schemas.errors import BadInput

SHARE_ALL = 10_000
"""All new runs: a share is counted in ten-thousandths of them."""

_PERCENTAGE = re.compile(r"(\d{1,3})(?:\.(\d{1,2}))?\s*%", re.ASCII)


def parse_share(given: object) -> int:
    """Ten-thousandths in a percentage such as `10%`, or in a number from 0 to 1. Raises BadInput."""
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= 1:
        share = round(given * SHARE_ALL)
        if abs(given * SHARE_ALL - share) < 1e-6:  # floats
            return share
    found = _PERCENTAGE.fullmatch(given.strip()) if isinstance(given, str) else None
    if found is not None:
        share = int(found[1]) * 100 + int((found[2] or "0").ljust(2, "0"))
        if share <= SHARE_ALL:
            return share
    shown = repr(given if not isinstance(given, str) else given[:40])
    raise BadInput(f"A share is a percentage from 0% to 100% with at most two decimals, such as '10%', not {shown}.")


def share_text(share: int) -> str:
    """A share in ten-thousandths as a percentage."""
    return f"{share / 100:.2f}".rstrip("0").rstrip(".") + "%"
