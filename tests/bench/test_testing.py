"""Test of the figures for tests of workflows."""

from __future__ import annotations

import pytest
import structlog

from bench import testing


def test_every_row_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each row runs, and has three figures in milliseconds."""
    testing.main(1)
    structlog.reset_defaults()
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["first", "median", "max", "ms"]
    assert [line[:32].strip() for line in lines] == list(testing.ROWS)
    assert all(float(figure) > 0 for line in lines for figure in line[32:].split())
