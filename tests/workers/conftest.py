"""Fixtures of the tests of workers: an own registry and a bench."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.topics.embedded import EmbeddedLog
from penstock.workers.activity import decorator
from penstock.workers.activity.registry import Registry
from tests.workers.bench import Bench, SpyLog


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own registry of activities."""
    monkeypatch.setattr(decorator, "_registry", Registry())


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Bench on the embedded log in memory, with the topics of two queues."""
    bench = Bench(SpyLog(EmbeddedLog(":memory:")), queues=("default", "payments"))
    yield bench
    bench.close()
