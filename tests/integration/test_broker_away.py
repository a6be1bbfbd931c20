"""Test of an outage of Kafka: processors and workers wait, log it, and continue when it is back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import flows
from tests.integration.system import System
from tests.kafka_broker import Broker

RESUME_S_MAX = 60.0
"""Far beyond what it takes, which `make chaos-quick` measures: the machine may be busy."""


@pytest.fixture
def broker() -> Iterator[Broker]:
    """Kafka broker of the test's own, which it may stop."""
    made = Broker()
    made.start()
    yield made
    made.close()


@pytest.mark.timeout(300)
def test_a_broker_that_was_away(broker: Broker, tmp_path: Path) -> None:
    """With Kafka killed amid 30 runs and started again, the same processor continues; nothing is lost or done twice."""
    system = System(f"kafka://{broker.bootstrap}", 3, tmp_path)
    try:
        ids = {f"run-{n}": n for n in range(30)}
        worker = system.start_worker()
        processor = system.start_processor()
        system.publish_starts({id: flows.mixed(n) for id, n in ids.items()})
        system.publish_starts({"waiting": flows.summed(1)})
        system.wait_for_events("ActivityCompleted", 20)
        broker.kill()
        system.type("list").refused(3, "no Kafka broker answers", broker.bootstrap)
        assert processor.poll() is None, system.child_log(processor)
        broker.start()
        answered_s = time.monotonic()
        system.publish_starts({"after": flows.five(1)})
        assert system.results(["after"], timeout_s=RESUME_S_MAX) == {"after": 11}
        print(f"a new run completed {time.monotonic() - answered_s:.1f} s after the broker answered")
        wanted = {id: flows.mixed_result(n) for id, n in ids.items()}
        assert system.results(ids, timeout_s=150) == wanted  # clients and processor reconnect, with growing pauses
        system.publish_signals(flows.more, ["waiting"], 1)
        system.publish_signals(flows.more, ["waiting"], 2)
        assert system.results(["waiting"]) == {"waiting": [1, 2, 4]}
        assert system.end(processor) == 0, system.child_log(processor)
        worker.stop()
        system.check(2 * len(ids) + 2)
    finally:
        system.close()
