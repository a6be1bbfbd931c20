"""What do the tests of workers share? A registry and a bench of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.topics.embedded import EmbeddedLog
from penstock.workers.activity import decorator
from penstock.workers.activity.registry import Registry
from tests.workers.bench import Bench, SpyLog


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test declares its activities in a registry of its own."""
    monkeypatch.setattr(decorator, "_registry", Registry())


@pytest.fixture
def bench() -> Iterator[Bench]:
    """The embedded log in memory, with the topics of two queues."""
    bench = Bench(SpyLog(EmbeddedLog(":memory:")), queues=("default", "payments"))
    yield bench
    bench.close()
