"""Do shards change hands without a loss? From a processor that sleeps past its session, and in a rolling restart."""

from __future__ import annotations

import signal

import pytest

from tests.integration import checks, flows
from tests.integration.system import System, wait_until

IN_FLIGHT = 200


@pytest.mark.parametrize("step", ["after offsets", "after commit"])
def test_a_zombie_changes_nothing(system: System, step: str) -> None:
    """Asleep in a commit past its session, then awake: histories whole, results once, it rejoins, its stores are right."""
    ids = {f"run-{n}": n for n in range(12)}
    worker = system.start_worker()
    zombie = system.start_processor(sleeps_at=(step, 9))
    owners = system.wait_for_owners("the first processor to have every shard", 1)
    zombie_id = owners[0].transactional_id
    system.publish_starts({id: flows.mixed(n) for id, n in ids.items()})
    system.wait_for_sleep(zombie)
    successor = system.start_processor()
    assert system.results(ids) == {id: flows.mixed_result(n) for id, n in ids.items()}
    zombie.send_signal(signal.SIGCONT)

    def back() -> bool:
        assert zombie.poll() is None, system.child_log(zombie)
        return any(owner.transactional_id == zombie_id and not owner.released for owner in system.owners().values())

    wait_until("the zombie to have shards again", back)
    if step == "after offsets":
        assert "transaction did not commit" in system.child_log(zombie)
    system.wait_for_owners("both to have shards", 2)
    assert system.end(successor) == 0, system.child_log(successor)
    system.publish_starts({"late": flows.mixed(1)})
    assert system.results(["late"]) == {"late": flows.mixed_result(1)}
    assert system.end(zombie) == 0, system.child_log(zombie)
    worker.stop()
    _check(system, 2 * len(ids) + 2)


def test_a_rolling_restart(system: System) -> None:
    """Two processors join and two leave while 200 runs are in flight: all complete, and everything is sound."""
    ids = {f"run-{n}": n for n in range(IN_FLIGHT)}
    worker = system.start_worker()
    first = system.start_processor()
    system.wait_for_owners("the first processor to have every shard", 1)
    system.publish_starts({id: flows.summed(n) for id, n in ids.items()})
    second = system.start_processor()
    system.publish_signals(flows.more, ids, 1)
    system.wait_for_owners("two processors to share the shards", 2)
    system.publish_signals(flows.more, list(ids)[: IN_FLIGHT // 2], 2)
    assert system.end(first) == 0, system.child_log(first)
    third = system.start_processor()
    system.wait_for_owners("two other processors to share the shards", 2)
    system.publish_signals(flows.more, list(ids)[IN_FLIGHT // 2 :], 2)
    assert system.end(second) == 0, system.child_log(second)
    assert system.results(ids) == {id: [n, n + 1, n + 3] for id, n in ids.items()}
    assert system.end(third) == 0, system.child_log(third)
    worker.stop()
    _check(system, IN_FLIGHT)


def _check(system: System, runs_expected: int) -> None:
    found = checks.decisions(system.log, system.topics, system.shards)
    checks.check_decisions_contiguous(found)
    runs = checks.histories(found)
    checks.check_results_once(runs)
    checks.check_stores(system.log, system.topics, system.shards, system.data)
    assert len(runs) == runs_expected, "each run, and each child, ran once"
