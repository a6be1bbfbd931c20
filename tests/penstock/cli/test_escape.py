"""Tests of escapes for control characters."""

import pytest

from penstock.cli.escape import escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("order-7 übergröße €", "order-7 übergröße €"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31m\x7f\x9b", r"\x1b[31m\x7f\x9b"),
        ("a\u2028b\u202ec\u2066", r"a\u2028b\u202ec\u2066"),
    ],
)
def test_escaped(text, shown):
    """Control characters, line separators and direction marks are escaped; other text is unchanged."""
    assert escaped(text) == shown
