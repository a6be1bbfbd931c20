"""Tests of schedules whose runs an operator starts, ends or repeats by hand."""

from __future__ import annotations

import pytest

from penstock.schemas.records.reset import ResetWorkflow
from penstock.schemas.records.retention import DeleteWorkflow
from penstock.schemas.records.schedule import BackfillSchedule
from penstock.schemas.values.schedule_spec import ScheduleSpec
from tests.engine.core.machines.test_schedule import FIRST_MS, HOUR_MS, HOURLY, ID, Clockwork, run_id_of, sched_open


@pytest.mark.parametrize(
    ("how", "status"), [("replaced", "terminated"), ("deleted", "terminated"), ("reset", "completed")]
)
def test_a_run_that_is_handled_by_hand_wedges_nothing(how: str, status: str) -> None:
    """A run that is replaced, deleted or reset by hand ends for its schedule once, and the next tick starts its own."""
    stage = Clockwork(HOURLY, "sched_open")
    stage.to(FIRST_MS)
    if how == "replaced":
        stage.start(sched_open, id=run_id_of(0), on_existing="terminate_existing")
    elif how == "deleted":
        stage.ask(DeleteWorkflow(workflow_id=run_id_of(0), force=True))
    else:
        stage.ask(ResetWorkflow(workflow_id=run_id_of(0), to_event=0))
        assert stage.schedule()["running"] == 1
        stage.finish(run_id_of(0))
    found = stage.schedule()
    assert (found["running"], [run["status"] for run in found["recent_runs"]]) == (0, [status])
    stage.to(FIRST_MS + HOUR_MS)
    assert [run["workflow_id"] for run in stage.schedule()["running_runs"]] == [run_id_of(1)]


@pytest.mark.parametrize(("overlap", "status"), [("cancel_other", "cancelled"), ("terminate_other", "terminated")])
def test_a_run_that_was_reset_makes_room_for_the_next_tick(overlap: str, status: str) -> None:
    """A run that goes on after resets is still the schedule's, which ends it when its next tick comes."""
    stage = Clockwork(ScheduleSpec(every_ms=HOUR_MS, overlap=overlap), "sched_open")
    stage.to(FIRST_MS)
    for to_event in (0, 1):
        stage.ask(ResetWorkflow(workflow_id=run_id_of(0), to_event=to_event))
    stage.to(FIRST_MS + HOUR_MS)
    assert [run["status"] for run in stage.schedule()["recent_runs"]] == [status, "running"]
    assert stage.described(run_id_of(0))["status"] == status


def test_a_closed_run_that_goes_on_by_hand_holds_no_tick_up() -> None:
    """A run of a schedule that is reset after its end is none of the open ones, and its second end changes nothing."""
    stage = Clockwork(HOURLY, "sched_open")
    stage.to(FIRST_MS)
    stage.terminate(id=run_id_of(0))
    stage.ask(ResetWorkflow(workflow_id=run_id_of(0), to_event=0))
    assert stage.described(run_id_of(0))["status"] == "running"
    stage.to(FIRST_MS + HOUR_MS)
    before = stage.schedule()
    stage.finish(run_id_of(0))
    assert stage.described(run_id_of(0))["status"] == "completed"
    assert stage.schedule() == before
    assert [run["workflow_id"] for run in before["running_runs"]] == [run_id_of(1)]


def test_a_backfill_has_the_ticks_that_came() -> None:
    """Around a change of the clock by half an hour, a backfill has the ticks that came by themselves."""
    change_ms = 1_712_415_600_000  # 7 April 2024 at 02:00 becomes 01:30
    from_ms, until_ms = change_ms - 3 * HOUR_MS, change_ms + 3 * HOUR_MS
    spec = ScheduleSpec(cron=("*/20 1,2 * * *",), timezone="Australia/Lord_Howe", start_ms=from_ms)
    stage = Clockwork(spec)
    stage.to(until_ms)
    came = [start.workflow_id for start in stage.starts()]
    stage.ask(BackfillSchedule(workflow_id=ID, from_ms=from_ms, until_ms=until_ms))
    assert [start.workflow_id for start in stage.starts()] == came
    assert len(came) == 7  # 01:40 comes twice
