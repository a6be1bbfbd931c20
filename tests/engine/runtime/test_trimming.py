"""Tests of Trimming: inputs below the window are deleted at intervals, and a log that refuses stops nothing."""

from __future__ import annotations

from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from penstock.engine.runtime.held import Held
from penstock.engine.runtime.trimming import Trimming
from penstock.schemas.errors import LogUnavailable
from penstock.topics.log import Log, TopicPartition


class NotedLog:
    """A log that notes what is deleted."""

    def __init__(self) -> None:
        self.trimmed: list[dict[TopicPartition, int]] = []
        self.error: Exception | None = None

    def trim(self, below: dict[TopicPartition, int]) -> None:
        self.trimmed.append(below)
        if self.error is not None:
            raise self.error


class Positions:
    """A shard with positions, in the place of `Held.shard`."""

    def __init__(self, **offsets: int) -> None:
        self.shard, self._offsets = self, offsets

    def committed_positions(self) -> dict[str, int]:
        return self._offsets


HELD = cast("dict[int, Held]", {0: Positions(commands=150, results=100), 3: Positions(commands=101), 4: Positions()})


@pytest.fixture
def log() -> NotedLog:
    """A log."""
    return NotedLog()


def _trimming(log: NotedLog) -> Trimming:
    return Trimming(cast("Log", cast("Any", log)), 60.0, 100)


def test_inputs_below_the_window_are_deleted(log: NotedLog) -> None:
    """Of each shard and topic, what lies more than the window below the committed position is deleted."""
    _trimming(log).trim_when_due(HELD, 1_000)
    assert log.trimmed == [{("commands", 0): 50, ("commands", 3): 1}]


def test_inputs_are_deleted_at_intervals(log: NotedLog) -> None:
    """Nothing is deleted before the interval is over."""
    trimming = _trimming(log)
    for now_ms in (1_000, 60_999, 61_000):
        trimming.trim_when_due(HELD, now_ms)
    assert len(log.trimmed) == 2


def test_a_log_that_does_not_delete_is_logged(log: NotedLog) -> None:
    """An error is a line in the log, and the next attempt follows after the interval."""
    log.error, trimming = LogUnavailable("away"), _trimming(log)
    with capture_logs() as logs:
        for now_ms in (1_000, 2_000, 61_000):
            trimming.trim_when_due(HELD, now_ms)
    assert [line["event"] for line in logs] == ["inputs not trimmed", "inputs not trimmed"]
