"""Tests of a processor's state: bounded memory, trimmed inputs, a replaceable directory."""

from __future__ import annotations

import shutil

from penstock.engine.core.keys import SHARD_KEY
from penstock.engine.core.rows import unpack_shard
from penstock.engine.runtime.driver import DriverSettings
from penstock.engine.runtime.shard import ShardLimits
from penstock.engine.store.changelog import checksum
from penstock.engine.store.rocks import RocksStore
from tests.integration import flows
from tests.integration.system import System, wait_until

AUDIT_WINDOW = 5


def test_state_on_disk_can_be_lost(system: System) -> None:
    """A store that was deleted, or replaced by an older copy, while stopped is restored, and its runs continue."""
    ids = {f"run-{n}": n for n in range(9)}
    place, older = system.data / system.namespace, system.data / "older"
    system.start_worker()
    system.publish_starts({id: flows.summed(n) for id, n in ids.items()})
    _run_until_seen(system, "WorkflowStarted", len(ids))
    shutil.copytree(place, older)
    system.publish_signals(flows.more, ids, 1)
    _run_until_seen(system, "ActivityCompleted", len(ids))
    before = _checksums(system)

    shutil.rmtree(place / "shard-0")
    shutil.rmtree(place / "shard-1")
    (older / "shard-1").rename(place / "shard-1")
    deleted, replaced, untouched = _checksums(system)
    assert deleted != before[0] and replaced != before[1] and untouched == before[2]
    processor = system.start_processor()
    system.wait_for_owners("the processor to have every shard", 1)
    assert system.end(processor) == 0, system.child_log(processor)
    assert _checksums(system) == before

    processor = system.start_processor()
    system.publish_signals(flows.more, ids, 2)
    assert system.results(ids) == {id: [n, n + 1, n + 3] for id, n in ids.items()}
    assert system.end(processor) == 0, system.child_log(processor)
    system.check(len(ids))


def test_inputs_are_trimmed(system: System) -> None:
    """Processed inputs are deleted, none in the audit window or above it; a processor that starts then continues."""
    settings = DriverSettings(audit_window=AUDIT_WINDOW, trim_interval_s=0.1)
    inputs = [(topic, shard) for topic in (system.topics.commands, system.topics.results) for shard in range(3)]
    ids = {f"run-{n}": n for n in range(15)}
    system.start_worker()
    processor = system.start_processor(settings)
    system.publish_starts({id: flows.mixed(n) for id, n in ids.items()})
    assert system.results(ids) == {id: flows.mixed_result(n) for id, n in ids.items()}
    _keep_busy_until_trimmed(system, inputs)
    assert system.end(processor) == 0, system.child_log(processor)
    for (topic, shard), (first, _) in system.log.ends(inputs).items():
        store = RocksStore(system.data / system.namespace / f"shard-{shard}")
        processed = unpack_shard(store.get(SHARD_KEY) or b"").offsets[topic]
        store.close()
        assert 0 < first <= processed - AUDIT_WINDOW, f"{topic}[{shard}] begins at {first}, processed up to {processed}"
    processor = system.start_processor(settings)
    system.publish_starts({"late": flows.mixed(1)})
    assert system.results(["late"]) == {"late": flows.mixed_result(1)}
    assert system.end(processor) == 0, system.child_log(processor)


def test_one_coroutine_in_memory(system: System) -> None:
    """With room for one run in memory, 20 interleaved runs are rebuilt at every step, and give the right results."""
    ids = {f"run-{n}": n for n in range(20)}
    system.start_worker()
    processor = system.start_processor(DriverSettings(limits=ShardLimits(run_cache_bytes=1)))
    system.publish_starts({id: flows.mixed(n) if n % 2 else flows.summed(n) for id, n in ids.items()})
    waiting = [id for id, n in ids.items() if n % 2 == 0]
    system.publish_signals(flows.more, waiting, 1)
    system.publish_signals(flows.more, waiting, 2)
    wanted = {id: flows.mixed_result(n) if n % 2 else [n, n + 1, n + 3] for id, n in ids.items()}
    assert system.results(ids) == wanted
    assert system.end(processor) == 0, system.child_log(processor)
    system.check(len(ids) + len(ids) // 2)


def _run_until_seen(system: System, event: str, times: int) -> None:
    """Run a processor until the log has that number of events of a kind."""
    processor = system.start_processor()
    system.wait_for_events(event, times)
    assert system.end(processor) == 0, system.child_log(processor)


def _checksums(system: System) -> list[str]:
    found = []
    for shard in range(system.shards):
        store = RocksStore(system.data / system.namespace / f"shard-{shard}")
        found.append(checksum(store))
        store.close()
    return found


def _keep_busy_until_trimmed(system: System, inputs: list[tuple[str, int]]) -> None:
    """Send work until inputs are trimmed, which happens after transactions only."""
    extra = iter(range(10_000))

    def trimmed() -> bool:
        system.publish_starts({f"extra-{next(extra)}": flows.five(1) for _ in range(3)})
        return all(first > 0 for first, _ in system.log.ends(inputs).values())

    wait_until("every input partition to be trimmed", trimmed)
