"""Tests of the parts of a process."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from penstock.config import load
from penstock.engine.runtime.driver import DriverSettings
from penstock.engine.runtime.processor import Processor
from penstock.hosting import parts
from penstock.hosting.namespace import Namespace
from penstock.hosting.parts import Part, processor_part, start_parts, stop_parts
from penstock.schemas.errors import StopTimedOut
from penstock.topics.catalogue import Topics
from penstock.topics.embedded.log import EmbeddedLog


def test_a_part_that_does_not_stop_is_an_error() -> None:
    """A stop that was given up raises, so that the process exits with another code than 0."""
    go_on = threading.Event()
    part = Part("processor", lambda: go_on.wait(30), lambda: None)
    start_parts([part])
    part.stop(0.01)
    go_on.set()
    with pytest.raises(StopTimedOut, match="the processor did not stop within"):
        stop_parts([part])


def test_a_part_that_ends_early_is_logged_at_once() -> None:
    """The error of a part is in the log before anybody stops the parts, which may be much later."""

    def fail() -> None:
        raise ValueError("no ground")

    part = Part("processor", fail, lambda: None)
    with structlog.testing.capture_logs() as lines:
        start_parts([part])
        part.thread.join(30)
    assert [(line["event"], line["error"]) for line in lines] == [("part ended early", "no ground")]


def test_settings_bound_what_a_processor_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """`closed_kept` and `run_cache_mb` reach the processor's shards."""
    made: list[DriverSettings] = []

    class Noted(Processor):
        def __init__(self, *arguments: Any, settings: DriverSettings, **options: Any) -> None:
            made.append(settings)
            super().__init__(*arguments, settings=settings, **options)

    monkeypatch.setattr(parts, "Processor", Noted)
    monkeypatch.setattr(parts, "ReadServer", lambda *arguments, **options: SimpleNamespace(address=""))
    log = EmbeddedLog()
    settings = load({"log": "embedded::memory:", "closed_kept": "36h", "run_cache_mb": 10}, {})
    processor_part(Namespace(log, Topics(), 1), settings, {})
    log.close()
    limits = made[0].limits
    assert (limits.closed_kept_ms, limits.run_cache_bytes) == (36 * 3_600_000, 10_000_000)
