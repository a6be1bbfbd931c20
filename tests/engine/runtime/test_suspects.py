"""Tests of what follows an unclean end: the input behind it is found, and its run BLOCKED."""

from __future__ import annotations

from collections.abc import Callable

from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import LogError
from penstock.topics.commit import Turn
from tests.engine.runtime.driver_flows import fan, nap, one
from tests.engine.runtime.driver_rig import Rig


class _Died(Exception):
    """A decision that ends the process."""


def _kills(*ids: str) -> Callable[[Turn], LogError | None]:
    """Ends the process whenever the code of one of these runs is executed: it is about to schedule a task."""

    def refusal(turn: Turn) -> LogError | None:
        if any(".tasks." in record.topic and (record.key or b"").decode() in ids for record in turn.outputs):
            raise _Died
        return None

    return refusal


def _live(it: Rig, deaths_max: int) -> int:
    """Let processors work, each started when the one before has died; returns how many died."""
    deaths = 0
    for _ in range(deaths_max + 1):
        try:
            for _ in range(60):
                it.now_ms += 50
                it.driver.step(0)
            return deaths
        except _Died:
            deaths += 1
            it.die()
    raise AssertionError(f"the {deaths_max}th processor died as well")


def test_code_that_ends_processors_is_blocked(rig: Callable[..., Rig]) -> None:
    """A run whose code ends the process is BLOCKED after two announced deaths; all other runs go on."""
    it = rig()
    it.commits.refusal = _kills("r-3")
    for number in range(8):
        it.start(one, "x", id=f"r-{number}")
    assert _live(it, 4) == 3
    assert it.status("r-3") == "blocked kills_processor"
    assert sorted(task.workflow_id for task in it.tasks()) == sorted(f"r-{n}" for n in range(8) if n != 3)


def test_two_runs_that_end_processors(rig: Callable[..., Rig]) -> None:
    """Each of two such runs is found and BLOCKED, on a shard of its own or on the same one."""
    it = rig(shards=2)
    ids = [f"r-{number}" for number in range(12)]
    it.commits.refusal = _kills("r-3", "r-9")
    for id in ids:
        it.start(one, "x", id=id)
    _live(it, 8)
    assert it.status("r-3") == it.status("r-9") == "blocked kills_processor"
    assert len(it.tasks()) == 10


def test_a_deadly_timer_is_blocked(rig: Callable[..., Rig]) -> None:
    """A run whose code ends the process when its timer fires is BLOCKED; other timers fire."""
    it = rig()
    for number in range(4):
        it.start(nap, id=f"r-{number}")
    it.turns(6)
    it.commits.refusal = lambda turn: (
        _raise() if any(r.topic.endswith(".completions") and r.key == b"r-2" for r in turn.outputs) else None
    )
    it.now_ms += 1_000
    assert _live(it, 4) == 3
    assert it.status("r-2") == "blocked kills_processor"
    assert sorted(it.completed()) == ["r-0", "r-1", "r-3"]


def _raise() -> None:
    raise _Died


def test_a_clock_that_is_set_back_after_a_death_keeps_no_shard_waiting(rig: Callable[..., Rig]) -> None:
    """A timer that the dead owner may have begun, and that is due later now, keeps no input waiting, and fires."""
    it = rig()
    it.start(nap, id="napper")
    it.turns(6)
    right_ms = it.now_ms
    it.now_ms += 3_600_000
    it.die()
    it.turns(1)
    it.driver._open_granted()
    it.now_ms = right_ms
    it.start(one, "x", id="next")
    it.turns(6)
    assert [task.workflow_id for task in it.tasks()] == ["next"]
    it.now_ms += 1_000
    it.turns(6)
    assert it.completed() == ["napper"]


def test_innocent_inputs_survive_a_death(rig: Callable[..., Rig]) -> None:
    """After one unclean end, everything is decided one by one and nothing is BLOCKED."""
    it = rig(shards=2)
    for number in range(20):
        it.start(one, "x", id=f"r-{number}")
    it.driver.step(0)
    it.die()
    assert _live(it, 0) == 0
    assert len(it.tasks()) == 20
    it.start(fan, 3, "x", id="later")
    it.turns(6)
    assert len(it.tasks()) == 23


def runs_of(turn: Turn) -> set[str]:
    """Ids of the runs whose decisions a turn holds."""
    return {decode(r.value or b"").workflow_id for r in turn.outputs if r.topic.endswith(".events")}


def test_a_clean_end_raises_no_suspicion(rig: Callable[..., Rig]) -> None:
    """After an orderly stop, inputs are decided together."""
    it = rig()
    it.restart()
    for number in range(20):
        it.start(one, "x", id=f"r-{number}")
    it.turns(6)
    assert max(len(runs_of(turn)) for turn in it.commits.turns) == 20
