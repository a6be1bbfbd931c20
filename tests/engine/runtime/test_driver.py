"""Tests of the driver's turns: their bounds, and what happens to those that do not commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.engine.core.keys import NEVER_MS
from penstock.engine.runtime.blocked import BlockedRuns
from penstock.engine.runtime.driver import DriverSettings
from penstock.engine.runtime.run_cache import CachedRun
from penstock.schemas.encoding.codec import decode
from penstock.schemas.errors import (
    LogError,
    LogUnavailable,
    RecordRefused,
    TopicRefused,
    TransactionAborted,
)
from penstock.schemas.records.run import UnblockWorkflow
from penstock.topics.catalogue import specs
from penstock.topics.commit import Turn
from penstock.topics.log import Record
from penstock.topics.partitioner import partition_of
from tests.engine.runtime.driver_flows import fan, later, nap, one, other_queue
from tests.engine.runtime.driver_rig import Rig

SMALL = DriverSettings(turn_records_max=100, turn_bytes_max=100_000)


def _records(turn: Turn) -> list[Record]:
    return [*turn.outputs, *turn.changelog]


def _size(turn: Turn) -> int:
    return sum(len(record.value or b"") for record in _records(turn))


def _inputs(turn: Turn) -> set[str]:
    """Ids of the runs whose decisions a turn holds."""
    return {decode(r.value or b"").workflow_id for r in turn.outputs if r.topic.endswith(".events")}


def _concerns(*ids: str, error: Callable[[], LogError]) -> Callable[[Turn], LogError | None]:
    """Refuses every turn that holds a decision of one of these runs."""
    return lambda turn: error() if _inputs(turn) & set(ids) else None


def test_a_turn_is_bounded_by_records(rig: Callable[..., Rig]) -> None:
    """Queued fan-outs are spread over turns: each exceeds the bound by its last decision at most."""
    it = rig(settings=SMALL)
    for number in range(20):
        it.start(fan, 20, "x", id=f"r-{number}")
    it.turns(30)
    alone = 20 * 3 + 6
    assert max(len(_records(turn)) for turn in it.commits.turns) <= SMALL.turn_records_max + alone
    assert len(it.tasks()) == 20 * 20


def test_a_turn_is_bounded_by_bytes(rig: Callable[..., Rig]) -> None:
    """Inputs with large payloads are spread over turns."""
    it = rig(settings=DriverSettings(turn_bytes_max=100_000))
    for number in range(20):
        it.start(one, "x" * 20_000, id=f"r-{number}")
    it.turns(30)
    assert max(map(_size, it.commits.turns)) <= 100_000 + 5 * 20_000
    assert len(it.tasks()) == 20


def test_inputs_of_a_full_turn_keep_their_order(rig: Callable[..., Rig]) -> None:
    """The inputs that a full turn left behind are decided in their order, each once."""
    it = rig(settings=SMALL)
    for number in range(50):
        it.start(one, "x" * 9_000, id=f"r-{number}")
    it.turns(40)
    assert [task.workflow_id for task in sorted(it.tasks(), key=lambda task: int(task.workflow_id[2:]))] == [
        f"r-{number}" for number in range(50)
    ]
    decisions = it.committed(it.topics.events)
    assert [decision.decision for decision in decisions] == list(range(1, 51))


def test_due_timers_are_bounded_too(rig: Callable[..., Rig]) -> None:
    """Timers that are due at once are spread over turns, and all fire."""
    it = rig(settings=DriverSettings(turn_records_max=40))
    for number in range(50):
        it.start(nap, id=f"r-{number}")
    it.turns(40)
    it.now_ms += 1_000
    it.turns(60)
    assert len(it.completed()) == 50
    assert max(len(_records(turn)) for turn in it.commits.turns) <= 40 + 20


def test_timers_fire_beside_a_backlog(rig: Callable[..., Rig]) -> None:
    """A timer that is due does not wait for a backlog of inputs to end."""
    it = rig(settings=SMALL)
    it.start(nap, id="napper")
    it.turns(4)
    it.now_ms += 1_000
    for number in range(200):
        it.start(one, "x" * 9_000, id=f"r-{number}")
    it.turns(6)
    assert it.completed() == ["napper"] and len(it.tasks()) < 200


def test_offsets_name_their_transaction(rig: Callable[..., Rig]) -> None:
    """Each turn commits its offsets with the number of the shard's transaction, also a turn of timers alone."""
    it = rig()
    it.start(nap, id="napper")
    it.turns(4)
    it.now_ms += 60_000
    it.turns(4)
    marks = [found.metadata for turn in it.commits.turns for found in turn.offsets.values()]
    assert it.completed() == ["napper"]
    assert marks == ["1", "2"]


def test_an_abort_that_repeats_halves_the_turn(rig: Callable[..., Rig]) -> None:
    """A turn that the log refuses by its size is halved until it fits, and everything commits."""
    it = rig()
    it.commits.refusal = lambda turn: TransactionAborted("too much") if len(_inputs(turn)) > 3 else None
    for number in range(40):
        it.start(one, "x", id=f"r-{number}")
    it.turns(120)
    assert len(it.tasks()) == 40
    assert it.commits.outcomes.count(None) >= 40 / 3


def test_due_timers_that_the_log_refuses_are_halved(rig: Callable[..., Rig]) -> None:
    """Too many due timers for one transaction are halved as inputs are, and all fire."""
    it = rig()
    for number in range(40):
        it.start(nap, id=f"r-{number}")
    it.turns(4)
    it.commits.refusal = lambda turn: TransactionAborted("too much") if len(_inputs(turn)) > 3 else None
    it.now_ms += 1_000
    it.turns(150)
    assert len(it.completed()) == 40


def test_a_refused_record_blocks_its_run_alone(rig: Callable[..., Rig]) -> None:
    """An input whose records the log refuses blocks its run; the inputs around it are decided as ever."""
    it = rig()
    it.commits.refusal = lambda turn: (
        RecordRefused("timestamp out of range")
        if any(".tasks." in r.topic and r.key == b"r-7" for r in turn.outputs)
        else None
    )
    for number in range(20):
        it.start(one, "x", id=f"r-{number}")
    it.turns(80)
    assert sorted(task.workflow_id for task in it.tasks()) == sorted(f"r-{n}" for n in range(20) if n != 7)
    assert it.status("r-7") == "blocked refused_record"


def test_a_refused_timer_blocks_its_run_alone(rig: Callable[..., Rig]) -> None:
    """A due timer whose records the log refuses blocks its run; other timers fire, now and later."""
    it = rig()
    for number in range(10):
        it.start(nap, id=f"r-{number}")
    it.turns(4)
    it.commits.refusal = lambda turn: (
        RecordRefused("too large")
        if any(r.topic.endswith(".completions") and r.key == b"r-3" for r in turn.outputs)
        else None
    )
    it.now_ms += 1_000
    it.turns(80)
    assert sorted(it.completed()) == sorted(f"r-{n}" for n in range(10) if n != 3)
    assert it.status("r-3") == "blocked refused_record"


def test_an_abort_without_a_name_sets_nothing_aside(rig: Callable[..., Rig]) -> None:
    """However often a turn aborts for a reason that names no record, its inputs are kept and decided in the end."""
    it = rig()
    it.commits.refusal = _concerns("r-2", error=lambda: TransactionAborted("coordinator moved"))
    for number in range(5):
        it.start(one, "x", id=f"r-{number}")
    it.turns(60)
    assert it.committed(it.topics.dead_letters) == []
    it.commits.refusal = lambda turn: None
    it.turns(20)
    assert len(it.tasks()) == 5


def test_runs_wait_for_a_refused_topic(rig: Callable[..., Rig]) -> None:
    """A refused task topic makes the runs that need it wait, and no others; they go on when it accepts records."""
    it = rig(queues=("default", "elsewhere"))
    refused = it.topics.tasks("elsewhere")
    it.commits.refusal = lambda turn: (
        TopicRefused("not authorised", topic=refused, partition=0)
        if any(record.topic == refused for record in turn.outputs)
        else None
    )
    for number in range(6):
        it.start(other_queue if number % 2 else one, "x", id=f"r-{number}")
    it.turns(10)
    assert sorted(task.workflow_id for task in it.tasks()) == ["r-0", "r-2", "r-4"]
    assert {it.status(f"r-{number}") for number in (1, 3, 5)} == {"blocked refused_topic"}
    it.now_ms += 100_000
    it.turns(10)
    assert it.tasks("elsewhere") == []
    it.commits.refusal = lambda turn: None
    it.now_ms += 100_000
    it.turns(10)
    assert sorted(task.workflow_id for task in it.tasks("elsewhere")) == ["r-1", "r-3", "r-5"]


def test_a_refused_topic_is_tried_by_one_run_alone(rig: Callable[..., Rig]) -> None:
    """The trial of a refused topic holds one decision, so that it costs the neighbours one turn at most."""
    it = rig(queues=("default", "elsewhere"))
    refused = it.topics.tasks("elsewhere")
    it.commits.refusal = lambda turn: (
        TopicRefused("not authorised", topic=refused, partition=0)
        if any(record.topic == refused for record in turn.outputs)
        else None
    )
    for number in range(6):
        it.start(other_queue, "x", id=f"r-{number}")
    it.turns(10)
    before = len(it.commits.turns)
    it.now_ms += 100_000
    it.turns(3)
    tried = [turn for turn in it.commits.turns[before:] if any(r.topic == refused for r in turn.outputs)]
    assert [len(_inputs(turn)) for turn in tried] == [1]


def test_a_shard_whose_own_topic_is_refused_stops_alone(rig: Callable[..., Rig]) -> None:
    """A shard whose events are refused stops; the other shards of the process go on, and it does when it can."""
    it = rig(shards=2)
    it.commits.refusal = lambda turn: (
        TopicRefused("offline", topic=it.topics.events, partition=1)
        if any(r.topic == it.topics.events and r.partition == 1 for r in turn.outputs)
        else None
    )
    ids = [f"r-{number}" for number in range(20)]
    for id in ids:
        it.start(one, "x", id=id)
    it.turns(10)
    mine = [id for id in ids if partition_of(id, 2) == 0]
    assert sorted(task.workflow_id for task in it.tasks()) == sorted(mine)
    it.commits.refusal = lambda turn: None
    it.now_ms += 100_000
    it.turns(10)
    assert sorted(task.workflow_id for task in it.tasks()) == sorted(ids)


def test_a_blocked_run_goes_on_after_a_retry(rig: Callable[..., Rig]) -> None:
    """A run that a refused record BLOCKED keeps its input, and goes on when it is retried."""
    it = rig()
    it.commits.refusal = lambda turn: (
        RecordRefused("too large") if any(".tasks." in record.topic for record in turn.outputs) else None
    )
    it.start(one, "x", id="r-1")
    it.turns(30)
    assert it.status("r-1") == "blocked refused_record"
    it.commits.refusal = lambda turn: None
    it.tell(UnblockWorkflow(workflow_id="r-1", message_id="retry"))
    it.turns(6)
    assert [task.workflow_id for task in it.tasks()] == ["r-1"]


def test_a_refused_retry_blocks_its_run_alone(rig: Callable[..., Rig]) -> None:
    """A BLOCKED run whose records the log refuses when it is tried again keeps no other BLOCKED run from going on."""
    it = rig(queues=())
    for number in range(6):
        it.start(one, "x", id=f"r-{number}")
    it.turns(4)
    assert it.status("r-2") == "blocked missing_topic"
    it.commits.refusal = lambda turn: (
        RecordRefused("timestamp out of range")
        if any(".tasks." in r.topic and r.key == b"r-2" for r in turn.outputs)
        else None
    )
    it.log.create([spec for spec in specs(it.topics, 1, ["default"]) if ".tasks." in spec.name])
    it.now_ms += 2_000
    it.turns(60)
    assert it.status("r-2") == "blocked refused_record"
    assert sorted(task.workflow_id for task in it.tasks()) == [f"r-{number}" for number in (0, 1, 3, 4, 5)]
    before = len(it.commits.turns)
    it.turns(5)
    assert len(it.commits.turns) == before


def test_a_new_topic_helps_runs_blocked_for_another_reason(rig: Callable[..., Rig]) -> None:
    """A run that was BLOCKED for its code, and now lacks a topic alone, goes on when that topic is created."""
    it = rig(queues=())
    it.start(later, id="r-1")
    it.turns(4)
    del it.workflows["rig_later"]
    it.driver._held[0].shard.runs.clear()
    it.now_ms += 1_000
    it.turns(4)
    assert it.status("r-1") == "blocked unknown_type"
    it.workflows["rig_later"] = later
    it.driver.retry_blocked()
    it.turns(4)
    it.log.create([spec for spec in specs(it.topics, 1, ["default"]) if ".tasks." in spec.name])
    it.now_ms += 2_000
    it.turns(4)
    assert [task.workflow_id for task in it.tasks()] == ["r-1"]


def test_a_blocked_run_is_tried_once_until_something_changes(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without its topic is tried when it is BLOCKED and when a topic appears, not at each turn or look-up."""
    tried: list[str] = []

    def would_go_on(self: BlockedRuns, run: CachedRun, now_ms: int) -> bool:
        tried.append(run.workflow_id)
        return False

    monkeypatch.setattr(BlockedRuns, "_would_go_on", would_go_on)
    it = rig()
    it.start(other_queue, "x", id="waits")
    for _ in range(20):
        it.turns(1)
        it.now_ms += 600
    assert tried == []
    it.create_queue("elsewhere")
    for _ in range(20):
        it.turns(1)
        it.now_ms += 600
    assert tried == ["waits"]


def test_an_opening_that_is_cut_short_begins_again(rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard taken from a dead owner while the log is briefly away is opened whole later, with nothing to wait for."""
    it = rig()
    it.start(nap, id="r-1")
    it.turns(4)
    it.die()
    ends, calls = it.log.ends, iter(range(100))

    def away_once(partitions: Any) -> Any:
        if any(topic == it.topics.commands for topic, _ in partitions) and next(calls) == 0:
            raise LogUnavailable("for a moment")
        return ends(partitions)

    monkeypatch.setattr(it.log, "ends", away_once)
    it.turns(2)
    it.now_ms += 10_000
    it.turns(8)
    it.now_ms += 10_000
    it.turns(8)
    assert it.completed() == ["r-1"]
    assert it.driver.pause_ends_ms == NEVER_MS


def test_a_shard_that_goes_on_while_the_log_is_away_skips_no_input(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs that were read before a shard stopped are read again, although the log is away when it may go on."""
    it = rig()
    it.commits.refusal = lambda turn: TopicRefused("offline", topic=it.topics.events, partition=0)
    it.start(one, "x", id="r-0")
    it.turns(4)
    it.commits.refusal = lambda turn: None
    ends, calls = it.log.ends, iter(range(100))

    def away_once(partitions: Any) -> Any:
        if next(calls) == 0:
            raise LogUnavailable("for a moment")
        return ends(partitions)

    monkeypatch.setattr(it.log, "ends", away_once)
    it.now_ms += 100_000
    with pytest.raises(LogUnavailable):
        it.turns(2)
    it.start(one, "x", id="r-1")
    it.turns(6)
    assert [task.workflow_id for task in it.tasks()] == ["r-0", "r-1"]


def test_a_giant_fan_out_is_spread_over_turns(rig: Callable[..., Rig]) -> None:
    """A decision that exceeds a turn alone is spread over several, and neighbours are decided in between."""
    it = rig()
    it.start(fan, 600, "x" * 20_000, id="giant")
    for number in range(3):
        it.start(one, "x", id=f"r-{number}")
    it.turns(2)
    assert len([task for task in it.tasks() if task.workflow_id != "giant"]) == 3
    for _ in range(10):
        it.now_ms += 10
        it.turns(2)
    assert len(it.tasks()) == 603
    assert max(map(_size, it.commits.turns)) < 24 * 1024 * 1024


def test_blocked_runs_are_tried_while_turns_are_isolated(rig: Callable[..., Rig]) -> None:
    """After aborts have isolated turns, a BLOCKED run whose topic appears goes on without any other input."""
    it = rig(queues=("default",))
    it.start(other_queue, "x", id="waits")
    it.turns(4)
    assert it.status("waits") == "blocked missing_topic"
    it.commits.refusal = lambda turn: TransactionAborted("coordinator moved")
    it.start(one, "x", id="r-1")
    it.turns(40)
    it.commits.refusal = lambda turn: None
    it.turns(4)
    it.create_queue("elsewhere")
    it.commits.refusal = lambda turn: TransactionAborted("again")
    it.now_ms += 2_000
    it.turns(40)
    it.commits.refusal = lambda turn: None
    it.turns(10)
    assert [task.workflow_id for task in it.tasks("elsewhere")] == ["waits"]


def test_a_shard_that_a_wrong_clock_put_ahead_can_be_reset(rig: Callable[..., Rig]) -> None:
    """With `reset_clock`, timers that start after a wrong clock's decisions are due in time."""
    it = rig(settings=DriverSettings(reset_clock=True))
    right_ms = it.now_ms
    it.now_ms += 365 * 86_400_000
    it.start(one, "x", id="early")
    it.turns(4)
    it.now_ms = right_ms
    it.restart()
    it.start(nap, id="napper")
    it.turns(4)
    it.now_ms += 1_000
    it.turns(4)
    assert it.completed() == ["napper"]


def test_a_turn_is_in_flight_before_it_can_commit(rig: Callable[..., Rig]) -> None:
    """A reader that has a reply waits for the turn that sent it, however early the reply came."""
    it = rig()
    seen: list[bool] = []

    def submitted(turn: Turn) -> None:
        seen.append(it.driver._in_flight is not None)

    it.commits.refusal = submitted
    it.start(one, "x", id="r-1")
    it.turns(4)
    assert seen
    assert all(seen)
