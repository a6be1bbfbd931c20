"""Tests of takeovers: from a processor that stands still past its session, and in a rolling restart."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.integration import flows
from tests.integration.system import System, wait_until

IN_FLIGHT = 200


def test_a_zombie_is_fenced(system: System) -> None:
    """A processor stopped before a commit, past its session, commits nothing when it continues, and rejoins."""
    log = _let_it_sleep(system, "after offsets")
    assert "transaction did not commit" in log


def test_a_zombie_that_had_committed(tmp_path: Path) -> None:
    """A processor stopped between commit and store has in its store what others wrote meanwhile when it continues."""
    system = System(f"embedded:{tmp_path}/log.sqlite3", 3, tmp_path)
    try:
        _let_it_sleep(system, "after commit")
    finally:
        system.close()


def _let_it_sleep(system: System, step: str) -> str:
    """Stop a processor at that step of a commit, let another take over and end, then let the first one continue."""
    ids = {f"run-{n}": n for n in range(12)}
    worker = system.start_worker()
    zombie = system.start_processor(sleeps_at=(step, 9))
    zombie_id = system.wait_for_owners("the first processor to have every shard", 1)[0].transactional_id
    system.publish_starts({id: flows.mixed(n) for id, n in ids.items()})
    system.wait_for_sleep(zombie)
    successor = system.start_processor()
    assert system.results(ids) == {id: flows.mixed_result(n) for id, n in ids.items()}
    zombie.send_signal(signal.SIGCONT)

    def back() -> bool:
        assert zombie.poll() is None, system.child_log(zombie)
        return any(owner.transactional_id == zombie_id and not owner.released for owner in system.owners().values())

    wait_until("the zombie to have shards again", back, log=lambda: system.child_log(zombie))
    assert system.end(successor) == 0, system.child_log(successor)
    system.publish_starts({"late": flows.mixed(1)})
    assert system.results(["late"]) == {"late": flows.mixed_result(1)}
    assert system.end(zombie) == 0, system.child_log(zombie)
    worker.stop()
    system.check(2 * len(ids) + 2)
    return system.child_log(zombie)


def test_a_rolling_restart(system: System) -> None:
    """Two processors join and two leave while 200 runs are in flight: all complete, and log and stores are sound."""
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
    system.check(IN_FLIGHT)
