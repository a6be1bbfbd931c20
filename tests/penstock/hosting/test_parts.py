"""Tests of the parts of a process."""

from __future__ import annotations

import threading

import pytest

from penstock.hosting.parts import Part, start_parts, stop_parts
from penstock.schemas.errors import StopTimedOut


def test_a_part_that_does_not_stop_is_an_error() -> None:
    """A stop that was given up raises, so that the process exits with another code than 0."""
    go_on = threading.Event()
    part = Part("processor", lambda: go_on.wait(30), lambda: None)
    start_parts([part])
    part.stop(0.01)
    go_on.set()
    with pytest.raises(StopTimedOut, match="the processor did not stop within"):
        stop_parts([part])
