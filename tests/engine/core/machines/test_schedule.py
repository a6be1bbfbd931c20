"""Tests of schedules on real shards over stores in memory: ticks, overlap, catch-up, commands."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.machines import schedule
from penstock.engine.runtime.schedule_reads import describe_schedule
from penstock.schemas.encoding.codec import encode
from penstock.schemas.failure import Failure
from penstock.schemas.records.run import CancelWorkflow, StartWorkflow
from penstock.schemas.records.schedule import (
    BackfillSchedule,
    CreateSchedule,
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    TriggerSchedule,
    UpdateSchedule,
)
from penstock.schemas.values.schedule_spec import ScheduleSpec
from penstock.schemas.values.ticks import jitter_of
from penstock.topics.partitioner import partition_of
from tests.engine.core.test_machines import _Recorder as Recorder
from tests.engine.stage import START_MS, Stage
from tests.simulation.fold import Fold

ID = "schedule:nightly"
HOUR_MS = 3_600_000
FIRST_MS = START_MS - START_MS % HOUR_MS + HOUR_MS
HOURLY = ScheduleSpec(every_ms=HOUR_MS)

done = Signal("sched_done", str)


@workflow
async def sched_quick() -> str:
    return "done"


@workflow
async def sched_open() -> str:
    """Open until it is told how to end."""
    return await done.wait()


@workflow
async def sched_failing() -> None:
    await sleep(1)
    raise RuntimeError("no data")


@workflow
async def sched_sized(size: int) -> int:
    return size


class Clockwork(Stage):
    """A stage with the schedule `nightly`, in several shards."""

    def __init__(self, spec: ScheduleSpec = HOURLY, workflow_type: str = "sched_quick", **fields: Any) -> None:
        super().__init__(sched_quick, sched_open, sched_failing, sched_sized, shards=fields.pop("shards", 3))
        fields.setdefault("input", b"null")
        self.created = self.ask(CreateSchedule(workflow_id=ID, workflow_type=workflow_type, spec=spec, **fields))

    def ask(self, command: Any, **fields: Any) -> Any:
        fields.setdefault("message_id", self.message_id())
        return self.replied(msgspec.structs.replace(command, **fields))

    def schedule(self, schedule_id: str = ID) -> dict[str, Any]:
        found = describe_schedule(self.stores[partition_of(schedule_id, self.shards)], schedule_id)
        assert found is not None, f"{schedule_id} is unknown"
        return found

    def starts(self) -> list[StartWorkflow]:
        """Starts since the last call."""
        return [command for command in self.take("commands") if isinstance(command, StartWorkflow)]

    def to(self, now_ms: int) -> None:
        """Advance the time, each timer at its moment."""
        self.advance((now_ms - self.now_ms) / 1000)

    def sleep_to(self, now_ms: int) -> None:
        """Let processors be down until then."""
        self.now_ms = now_ms
        for _ in range(20):
            self.tick()

    def finish(self, workflow_id: str) -> None:
        self.signal("sched_done", "ok", id=workflow_id)


def run_id_of(hour: int) -> str:
    """Workflow id of the run of the hour, counted from the first tick."""
    hours = (FIRST_MS + hour * HOUR_MS) // HOUR_MS
    return f"nightly-2023-11-{14 + (hours - 472_222 + 22) // 24}T{(hours - 472_222 + 22) % 24:02}:00:00Z"


def test_every_row_of_the_table_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event in each state that the table allows is decided by one of these commands, ticks and ends of runs."""
    recorder = Recorder(schedule.TRANSITIONS)
    monkeypatch.setattr(schedule, "TRANSITIONS", recorder)
    for paused in (False, True):
        stage = Clockwork(ScheduleSpec(every_ms=HOUR_MS, overlap="cancel_other"), "sched_open")
        stage.to(FIRST_MS)
        if paused:
            stage.ask(PauseSchedule(workflow_id=ID))
        else:
            stage.ask(PauseSchedule(workflow_id=ID))
            stage.ask(ResumeSchedule(workflow_id=ID))
        for overlap in ("buffer_all", "cancel_other", "skip"):
            stage.ask(TriggerSchedule(workflow_id=ID, overlap=overlap))
        stage.ask(BackfillSchedule(workflow_id=ID, from_ms=0, until_ms=0, overlap="allow_all"))
        stage.ask(UpdateSchedule(workflow_id=ID, spec=HOURLY))
        stage.ask(DeleteSchedule(workflow_id=ID))
    unused = [f"{state} --{event.__name__}" for state, event in set(recorder) - recorder.used]
    assert unused == []


def test_each_tick_starts_a_run_of_its_name() -> None:
    """Each tick starts one run under the schedule's name and the tick in UTC; its end is reported."""
    stage = Clockwork()
    stage.to(FIRST_MS + 2 * HOUR_MS)
    assert [start.workflow_id for start in stage.starts()] == [run_id_of(0), run_id_of(1), run_id_of(2)]
    assert stage.described(run_id_of(0))["status"] == "completed"
    assert stage.described(run_id_of(0))["parent_workflow_id"] == ID
    found = stage.schedule()
    assert (found["started"], found["running"], found["skipped"], found["missed"]) == (3, 0, 0, 0)
    assert [run["status"] for run in found["recent_runs"]] == ["completed"] * 3
    assert found["upcoming_ms"] == [FIRST_MS + hour * HOUR_MS for hour in range(3, 8)]


def test_a_description_has_the_last_ten_runs() -> None:
    """A schedule remembers its last ten runs."""
    stage = Clockwork()
    stage.to(FIRST_MS + 11 * HOUR_MS)
    assert [run["workflow_id"] for run in stage.schedule()["recent_runs"]] == [run_id_of(hour) for hour in range(2, 12)]


def test_a_restart_loses_no_tick_and_repeats_none() -> None:
    """With shards that are replaced before each tick, each has its run, once; a weekly interval survives it too."""
    week_ms = 7 * 24 * HOUR_MS
    stage = Clockwork(ScheduleSpec(every_ms=week_ms, start_ms=FIRST_MS))
    for day in range(22):
        stage.restart()
        stage.to(FIRST_MS + day * 24 * HOUR_MS)
    ticks = [start.parent_sequence for start in stage.starts()]
    assert ticks == [FIRST_MS + week * week_ms for week in range(4)]


OVERLAPS = {
    # Three ticks while processors were down: runs that start at once, and those that wait.
    "skip": (1, 0, 2),
    "buffer_one": (1, 1, 1),
    "buffer_all": (1, 2, 0),
    "cancel_other": (1, 1, 1),
    "terminate_other": (1, 1, 1),
    "allow_all": (3, 0, 0),
}


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_three_ticks_while_processors_were_down(overlap: str) -> None:
    """Ticks that no processor decided in time are made up for, in order, by the overlap policy; none twice."""
    stage = Clockwork(ScheduleSpec(every_ms=HOUR_MS, overlap=overlap), "sched_open")
    stage.sleep_to(FIRST_MS + 2 * HOUR_MS + 60_000)
    started, waiting, skipped = OVERLAPS[overlap]
    ended = overlap in {"cancel_other", "terminate_other"}
    found = stage.schedule()
    assert found["skipped"] == skipped
    assert len(stage.starts()) == started + ended * waiting
    assert found["running"] == started
    assert len(found["waiting_runs"]) == (0 if ended else waiting)
    for hour in range(3):
        if partition_of(run_id_of(hour), 3) is not None and stage.schedule()["running"]:
            stage.finish(stage.schedule()["running_runs"][0]["workflow_id"])
    assert stage.schedule()["running"] == 0
    assert stage.schedule()["started"] == 3 - skipped
    if ended:  # the last of the three takes the place of the others
        status = {"cancel_other": "cancelled", "terminate_other": "terminated"}[overlap]
        assert [run["status"] for run in stage.schedule()["recent_runs"]] == [status, "completed"]
        assert stage.schedule()["recent_runs"][1]["workflow_id"] == run_id_of(2)


def test_skip_drops_a_tick_while_a_run_is_open() -> None:
    """With `skip` no tick starts while a run is open, and the next one after its end does."""
    stage = Clockwork(HOURLY, "sched_open")
    stage.to(FIRST_MS + 2 * HOUR_MS)
    stage.finish(run_id_of(0))
    stage.to(FIRST_MS + 3 * HOUR_MS)
    assert [start.workflow_id for start in stage.starts()] == [run_id_of(0), run_id_of(3)]
    assert stage.schedule()["skipped"] == 2


def test_buffer_one_lets_one_tick_wait() -> None:
    """With one run open and one waiting the next tick is dropped; the waiting one starts when the open one closes."""
    stage = Clockwork(ScheduleSpec(every_ms=HOUR_MS, overlap="buffer_one"), "sched_open")
    stage.to(FIRST_MS + 2 * HOUR_MS)
    assert [run["workflow_id"] for run in stage.schedule()["waiting_runs"]] == [run_id_of(1)]
    assert stage.schedule()["skipped"] == 1
    stage.finish(run_id_of(0))
    assert [run["workflow_id"] for run in stage.schedule()["running_runs"]] == [run_id_of(1)]


def test_allow_all_starts_beside_open_runs() -> None:
    """With `allow_all` each tick starts at once; each run's end is known."""
    stage = Clockwork(ScheduleSpec(every_ms=HOUR_MS, overlap="allow_all"), "sched_open")
    stage.to(FIRST_MS + 2 * HOUR_MS)
    assert stage.schedule()["running"] == 3
    stage.finish(run_id_of(1))
    assert [run["workflow_id"] for run in stage.schedule()["running_runs"]] == [run_id_of(0), run_id_of(2)]


def test_many_ticks_take_several_decisions() -> None:
    """A processor that was down for 250 ticks starts each run once, at most a hundred in one decision."""
    stage = Clockwork(ScheduleSpec(every_ms=60_000, overlap="allow_all"))
    first_ms = START_MS - START_MS % 60_000 + 60_000
    stage.sleep_to(first_ms + 249 * 60_000)
    starts = [start.parent_sequence for start in stage.starts()]
    assert starts == [first_ms + number * 60_000 for number in range(250)]


def test_ticks_older_than_catch_up_are_missed() -> None:
    """Ticks older than `catch_up` start nothing and are counted; they use up no remaining tick."""
    stage = Clockwork(ScheduleSpec(every_ms=HOUR_MS, catch_up_ms=HOUR_MS, overlap="allow_all", remaining=2))
    stage.sleep_to(FIRST_MS + 4 * HOUR_MS + 60_000)
    found = stage.schedule()
    assert [start.workflow_id for start in stage.starts()] == [run_id_of(4)]
    assert (found["missed"], found["started"], found["remaining"]) == (4, 1, 1)


def test_a_year_of_missed_ticks_is_passed_over_at_once() -> None:
    """After a long sleep missed ticks are not replayed one by one; up to a thousand of them are counted."""
    stage = Clockwork(ScheduleSpec(cron=("* * * * *",), catch_up_ms=10_000))
    stage.sleep_to(START_MS + 300 * 24 * HOUR_MS)
    found = stage.schedule()
    assert 1_000 <= found["missed"] <= 1_001
    assert len(stage.starts()) <= 1
    assert found["next_ms"] == stage.now_ms - stage.now_ms % 60_000 + 60_000


def test_jitter_delays_each_start_within_its_bound() -> None:
    """A run starts its own jitter after its tick, also the last one before `end`; its id is the tick's."""
    spec = ScheduleSpec(every_ms=HOUR_MS, jitter_ms=1_800_000, end_ms=FIRST_MS + 2 * HOUR_MS)
    stage = Clockwork(spec)
    for hour in range(3):
        tick_ms = FIRST_MS + hour * HOUR_MS
        stage.to(tick_ms + jitter_of(ID, tick_ms, 1_800_000) - 1)
        assert not stage.starts()
        stage.to(stage.now_ms + 1)
        assert [start.workflow_id for start in stage.starts()] == [run_id_of(hour)]
    assert stage.schedule()["next_ms"] is None


def test_a_change_between_tick_and_jitter_loses_no_run() -> None:
    """An update after the tick, and before its run has started, starts that run; the new spec counts from now on."""
    stage = Clockwork(ScheduleSpec(every_ms=HOUR_MS, jitter_ms=HOUR_MS - 1))
    assert jitter_of(ID, FIRST_MS, HOUR_MS - 1) > 60_000
    stage.to(FIRST_MS + 1_000)
    assert not stage.starts()
    stage.ask(UpdateSchedule(workflow_id=ID, spec=ScheduleSpec(cron=("30 * * * *",))))
    assert [start.workflow_id for start in stage.starts()] == [run_id_of(0)]
    assert stage.schedule()["next_ms"] == FIRST_MS + HOUR_MS // 2


def test_a_pause_between_tick_and_jitter_loses_no_run() -> None:
    """A pause that is over before the tick's jitter drops nothing."""
    stage = Clockwork(ScheduleSpec(every_ms=HOUR_MS, jitter_ms=HOUR_MS - 1))
    stage.to(FIRST_MS + 1_000)
    stage.ask(PauseSchedule(workflow_id=ID))
    stage.ask(ResumeSchedule(workflow_id=ID))
    stage.to(FIRST_MS + HOUR_MS - 1)
    assert [start.workflow_id for start in stage.starts()] == [run_id_of(0)]


def test_a_changed_expression_misses_nothing_of_the_past() -> None:
    """A new expression has no ticks before the change, not even late ones."""
    stage = Clockwork(ScheduleSpec(cron=("0 0 * * *",)))
    stage.to(FIRST_MS + 90_000)
    stage.ask(UpdateSchedule(workflow_id=ID, spec=ScheduleSpec(cron=("* * * * *",))))
    found = stage.schedule()
    assert not stage.starts()
    assert (found["missed"], found["next_ms"]) == (0, FIRST_MS + 120_000)


def test_a_change_of_what_runs_keeps_the_ticks() -> None:
    """A change of the input changes no tick; without a change nothing is recorded."""
    stage = Clockwork(workflow_type="sched_sized", input=b"1")
    before = stage.schedule()
    stage.take("events")
    change = UpdateSchedule(workflow_id=ID, workflow_type="sched_sized", input=b"2")
    stage.ask(change)
    assert stage.schedule()["spec"] == before["spec"]
    assert stage.schedule()["upcoming_ms"] == before["upcoming_ms"]
    stage.ask(change)
    assert stage.take("events")[-1].events != ()
    stage.to(FIRST_MS)
    (start,) = stage.starts()
    assert start.input == b"2"


def test_ticks_during_a_pause_are_dropped() -> None:
    """A paused schedule decides nothing; it goes on with the next tick after it is resumed, and shows the notes."""
    stage = Clockwork()
    stage.ask(PauseSchedule(workflow_id=ID, note="month's end"))
    assert (stage.schedule()["note"], stage.schedule()["upcoming_ms"]) == ("month's end", [])
    stage.take("events")
    stage.to(FIRST_MS + 5 * HOUR_MS + 1)
    assert not stage.take("events")
    stage.ask(ResumeSchedule(workflow_id=ID, note="done"))
    stage.to(FIRST_MS + 6 * HOUR_MS)
    assert [start.workflow_id for start in stage.starts()] == [run_id_of(6)]
    assert stage.schedule()["missed"] == 0


def test_pause_on_failure_is_about_failed_runs_alone() -> None:
    """A schedule pauses when a run fails, and not when one is cancelled or terminated."""
    spec = ScheduleSpec(every_ms=HOUR_MS, pause_on_failure=True)
    stage = Clockwork(spec, "sched_open")
    stage.to(FIRST_MS)
    stage.tell(CancelWorkflow(workflow_id=run_id_of(0), message_id="c"))
    stage.to(FIRST_MS + HOUR_MS)
    stage.terminate(id=run_id_of(1))
    assert [run["status"] for run in stage.schedule()["recent_runs"]] == ["cancelled", "terminated"]
    assert not stage.schedule()["paused"]
    stage.ask(UpdateSchedule(workflow_id=ID, workflow_type="sched_failing", input=b"null"))
    stage.to(FIRST_MS + 2 * HOUR_MS + 2_000)
    found = stage.schedule()
    assert (found["paused"], found["note"]) == (True, f"{run_id_of(2)} failed")
    assert "no data" in found["recent_runs"][2]["message"]


def test_remaining_ticks_are_counted() -> None:
    """A schedule with two ticks to take takes two, and has no next one; runs by hand do not count."""
    stage = Clockwork(ScheduleSpec(every_ms=HOUR_MS, remaining=2))
    stage.ask(TriggerSchedule(workflow_id=ID))
    stage.to(FIRST_MS + 5 * HOUR_MS)
    found = stage.schedule()
    assert (found["started"], found["remaining"], found["next_ms"]) == (3, 0, None)


def test_a_tick_that_was_replaced_is_given_back() -> None:
    """A waiting tick whose place another takes uses up no remaining tick."""
    stage = Clockwork(ScheduleSpec(every_ms=HOUR_MS, overlap="cancel_other", remaining=3), "sched_open")
    stage.sleep_to(FIRST_MS + 3 * HOUR_MS)
    assert stage.schedule()["remaining"] == 1
    assert stage.schedule()["skipped"] == 2


def test_a_trigger_starts_a_run_now() -> None:
    """A trigger starts a run under an id of its own, also of a paused schedule, and answers with its ids."""
    stage = Clockwork(paused=True, note="not yet")
    reply = stage.ask(TriggerSchedule(workflow_id=ID))
    assert reply.status == "started"
    assert stage.described(reply.workflow_id)["run_id"] == reply.run_id
    assert stage.schedule()["recent_runs"][0]["by_hand"]


def test_a_trigger_obeys_overlap() -> None:
    """A trigger, at the creation too, obeys the overlap policy, its own if it has one."""
    stage = Clockwork(HOURLY, "sched_open", trigger=True)
    assert stage.schedule()["running"] == 1
    assert stage.ask(TriggerSchedule(workflow_id=ID)).status == "skipped"
    assert stage.ask(TriggerSchedule(workflow_id=ID, overlap="buffer_one")).status == "waiting"
    assert stage.ask(TriggerSchedule(workflow_id=ID, overlap="allow_all")).status == "started"
    again = CreateSchedule(workflow_id=ID, workflow_type="sched_open", input=b"null", spec=HOURLY)
    assert stage.ask(again).reason == "already_exists"


def test_a_backfill_includes_both_ends() -> None:
    """A backfill starts the runs of all ticks of its range, both ends included; of a single tick, one."""
    stage = Clockwork()
    stage.ask(BackfillSchedule(workflow_id=ID, from_ms=FIRST_MS - 3 * HOUR_MS, until_ms=FIRST_MS - HOUR_MS))
    assert [start.workflow_id for start in stage.starts()] == [run_id_of(hour) for hour in (-3, -2, -1)]
    one = BackfillSchedule(workflow_id=ID, from_ms=FIRST_MS - HOUR_MS, until_ms=FIRST_MS - HOUR_MS)
    assert stage.ask(one).note == "the range has 1 ticks"
    assert [start.workflow_id for start in stage.starts()] == [run_id_of(-1)]


def test_a_backfill_has_an_overlap_policy_of_its_own() -> None:
    """The policy of a backfill is in the place of the schedule's; by default its runs wait for each other."""
    stage = Clockwork(HOURLY, "sched_open")
    span = {"from_ms": FIRST_MS - 3 * HOUR_MS, "until_ms": FIRST_MS - HOUR_MS}
    stage.ask(BackfillSchedule(workflow_id=ID, **span))
    assert (stage.schedule()["running"], stage.schedule()["waiting"]) == (1, 2)
    for hour in (-3, -2, -1):
        stage.finish(run_id_of(hour))
    assert stage.schedule()["running"] == 0
    stage.ask(BackfillSchedule(workflow_id=ID, overlap="allow_all", **span))
    assert stage.schedule()["running"] == 3


def test_a_large_backfill_goes_on_in_further_decisions() -> None:
    """A backfill of 500 ticks that may all be open starts them a hundred at a time."""
    stage = Clockwork(ScheduleSpec(every_ms=60_000), "sched_open")
    until_ms = START_MS - START_MS % 60_000
    stage.ask(BackfillSchedule(workflow_id=ID, from_ms=until_ms - 499 * 60_000, until_ms=until_ms, overlap="allow_all"))
    for _ in range(10):
        stage.tick()
    assert stage.schedule()["running"] == 500
    assert len({start.workflow_id for start in stage.starts()}) == 500


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"from_ms": 2_000, "until_ms": 1_000}, "ends before it begins"),
        ({"from_ms": 0, "until_ms": FIRST_MS}, "ends in the future"),
        ({"from_ms": 0, "until_ms": START_MS}, "more than 1,000 ticks"),
        ({"from_ms": 0, "until_ms": 1, "overlap": "all"}, "overlap must be one of"),
    ],
)
def test_a_wrong_backfill_is_one_sentence(fields: dict[str, Any], said: str) -> None:
    """A range that cannot be made up for is refused, and starts nothing."""
    stage = Clockwork()
    assert said in stage.ask(BackfillSchedule(workflow_id=ID, **fields)).message
    assert not stage.starts()


def test_a_backfilled_tick_runs_again_after_its_end() -> None:
    """A backfill starts the run of a tick again that has closed, as another run of its id; an open one is left."""
    stage = Clockwork(ScheduleSpec(every_ms=HOUR_MS, overlap="allow_all"), "sched_open")
    stage.to(FIRST_MS)
    first = stage.described(run_id_of(0))["run_id"]
    again = BackfillSchedule(workflow_id=ID, from_ms=FIRST_MS, until_ms=FIRST_MS, overlap="allow_all")
    stage.ask(again)
    assert stage.schedule()["recent_runs"][-1]["status"] == "rejected"
    stage.finish(run_id_of(0))
    stage.ask(again)
    assert stage.described(run_id_of(0))["run_id"] != first
    assert stage.schedule()["running"] == 1


def test_an_id_that_was_used_by_hand_wedges_nothing() -> None:
    """A run under the id of a coming tick keeps that tick from starting, which is reported; the next one starts."""
    stage = Clockwork(HOURLY)
    stage.start(sched_open, id=run_id_of(0))
    stage.to(FIRST_MS + HOUR_MS)
    statuses = [run["status"] for run in stage.schedule()["recent_runs"]]
    assert statuses == ["rejected", "completed"]
    assert "is taken by another run" in stage.schedule()["recent_runs"][0]["message"]


def test_a_chain_is_one_run_of_its_schedule() -> None:
    """A run that is retried stays open for its schedule until its chain has ended."""
    from penstock.schemas.values.retry import RetryPolicy

    stage = Clockwork(HOURLY, "sched_failing", retry=RetryPolicy(retries_max=1, delays_ms=(60_000,)))
    stage.to(FIRST_MS + 2_000)
    assert stage.schedule()["running"] == 1
    stage.to(FIRST_MS + 120_000)
    assert stage.schedule()["recent_runs"][0]["status"] == "failed"


def test_a_deleted_schedule_leaves_nothing_due() -> None:
    """A deleted schedule starts nothing more; its open run goes on; it can be created anew."""
    stage = Clockwork(HOURLY, "sched_open")
    stage.to(FIRST_MS)
    stage.ask(DeleteSchedule(workflow_id=ID))
    stage.starts()
    stage.to(FIRST_MS + 3 * HOUR_MS)
    stage.finish(run_id_of(0))
    assert not stage.starts()
    rows = [key for store in stage.stores for key, _ in store.scan(b"P", b"Q")]
    assert not rows
    assert stage.ask(PauseSchedule(workflow_id=ID)).reason == "not_found"
    assert not stage.ask(CreateSchedule(workflow_id=ID, workflow_type="sched_quick", spec=HOURLY)).existing


def test_a_message_that_comes_twice_acts_once() -> None:
    """A trigger, a backfill or a creation that arrives again under its message id starts nothing more."""
    stage = Clockwork()
    span = {"from_ms": FIRST_MS - HOUR_MS, "until_ms": FIRST_MS - HOUR_MS}
    commands = [
        TriggerSchedule(workflow_id=ID, message_id="t"),
        BackfillSchedule(workflow_id=ID, message_id="b", **span),
        PauseSchedule(workflow_id=ID, message_id="p"),
        ResumeSchedule(workflow_id=ID, message_id="r"),
    ]
    for command in [*commands, *commands]:
        stage.replied(command)
    assert len(stage.starts()) == 2
    assert not stage.schedule()["paused"]
    stage.replied(DeleteSchedule(workflow_id=ID, message_id="d"))
    late = CreateSchedule(workflow_id=ID, workflow_type="sched_quick", spec=HOURLY, message_id="message-1")
    assert stage.replied(late).existing
    assert stage.ask(PauseSchedule(workflow_id=ID)).reason == "not_found"


def test_messages_to_a_schedule_expire() -> None:
    """The ids of commands to a schedule are kept as long as closed runs, then deleted."""
    stage = Clockwork(ScheduleSpec(cron=("0 0 1 1 *",)))

    def kept() -> int:
        return sum(1 for store in stage.stores for kind in (b"M", b"J", b"Z") for _ in store.scan(kind, kind + b"\xff"))

    assert kept() == 3
    for eight_hours in range(30):
        stage.advance(8 * 3600)
        stage.start(sched_quick, id=f"run-{eight_hours}")
    assert not [key for store in stage.stores for key, _ in store.scan(b"M", b"N")]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"spec": ScheduleSpec()}, "has no ticks"),
        ({"spec": ScheduleSpec(cron=("61 * * * *",))}, "wrong in its minute"),
        ({"spec": ScheduleSpec(every_ms=HOUR_MS, timezone="Mars/Olympus")}, "There is no time zone 'Mars/Olympus'"),
        ({"spec": ScheduleSpec(every_ms=HOUR_MS, catch_up_ms=0)}, "catch_up must be at least 10 s"),
        ({"workflow_type": "sched_unknown"}, "hosts a workflow called 'sched_unknown'"),
        ({"workflow_type": "sched_sized", "input": b'"x"'}, "cannot take this input"),
        ({"headers": {"a": "x" * 9_000}}, "The headers take 9,001 bytes"),
        ({"workflow_id": "nightly"}, "begins with `schedule:`"),
        ({"workflow_id": "schedule:" + "x" * 201}, "more than 200 bytes"),
    ],
)
def test_a_wrong_creation_is_one_sentence(fields: dict[str, Any], said: str) -> None:
    """A schedule that could not start its runs is refused in one sentence, and does not exist."""
    stage = Stage(sched_quick, sched_sized)
    given = {"workflow_id": ID, "workflow_type": "sched_quick", "spec": HOURLY, "input": b"null", **fields}
    refused = stage.replied(CreateSchedule(message_id="m", **given))
    assert said in refused.message
    assert describe_schedule(stage.stores[0], given["workflow_id"]) is None


def test_no_run_can_have_the_id_of_a_schedule() -> None:
    """A start under a schedule's id is refused, whoever sends it."""
    stage = Clockwork()
    start = StartWorkflow(workflow_id="schedule:other", workflow_type="sched_quick", message_id="s")
    assert "as only schedules do" in stage.replied(start).message


def test_a_child_with_the_id_of_a_schedule_fails() -> None:
    """Its parent receives the refusal as the child's failure."""
    failure = Failure(type="bad_input", message="as only schedules do")
    stage = Clockwork()
    stage.tell(
        StartWorkflow(
            workflow_id="schedule:child",
            workflow_type="sched_quick",
            message_id="s",
            parent_workflow_id="p",
            parent_run_id="r",
            parent_sequence=1,
        )
    )
    (report,) = [command for command in stage.take("commands") if type(command).__name__ == "ResolveChild"]
    assert report.status == "rejected"
    assert failure.message in report.failure.message


def test_rows_of_a_schedule_follow_from_its_events() -> None:
    """What the topic `events` says of a schedule, folded from nothing, gives the rows of the store."""
    stage = Clockwork(ScheduleSpec(every_ms=HOUR_MS, overlap="cancel_other", jitter_ms=60_000), "sched_open", shards=1)
    stage.sleep_to(FIRST_MS + 4 * HOUR_MS)
    stage.ask(TriggerSchedule(workflow_id=ID, overlap="buffer_all"))
    stage.ask(PauseSchedule(workflow_id=ID))
    folded = Fold()
    for record in stage.sent["events"]:
        folded.apply(encode(record))
    rows = dict(stage.stores[0].scan(b"\x01", b"\xff"))
    del rows[b"S"]
    assert folded.rows == rows
