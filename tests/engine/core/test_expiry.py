"""Tests of the expiry of closed runs: how long they are kept, by which clock, and how fast they go."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.context import info
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.expiry import ROWS_MAX
from penstock.engine.core.keys import CLOSED, DAY_MS, HISTORY
from penstock.engine.core.statuses import CLOSED as CLOSED_STATUSES
from penstock.engine.core.statuses import SETTING_OF
from penstock.engine.runtime.shard import ShardLimits
from penstock.schemas.encoding.codec import encode
from penstock.schemas.errors import BadDuration, BadInput
from penstock.schemas.records.reset import ResetWorkflow
from penstock.schemas.records.retention import DeleteWorkflow
from penstock.schemas.records.run import CancelWorkflow, OnExisting, StartWorkflow, TerminateWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.values.attributes import encode_memo
from penstock.schemas.values.kept import KEPT_MS_MIN, STATUSES, kept_of
from tests.engine.core import flows
from tests.engine.stage import Stage

HOURS_8_MS = DAY_MS // 3


def rows(stage: Stage, *texts: bytes) -> list[bytes]:
    """Keys in the store that contain one of the texts."""
    return [key for key, _ in stage.stores[0].scan(b"", b"\xff") if any(text in key for text in texts)]


def pass_time(stage: Stage, days: float) -> None:
    """Let time pass, with an input every eight hours."""
    for _ in range(round(days * 3)):
        stage.advance(HOURS_8_MS / 1000)
        stage.signal("knock", id="elsewhere")


def close(stage: Stage, id: str = "run-1", flow: Any = flows.travel, **fields: Any) -> str:
    """Start and close a run; returns its id."""
    run_id = stage.start(flow, [], id=id, **fields)
    stage.signal("go", id=id)
    return run_id


@workflow(closed_kept="30d")
async def long_kept(places: list[str]) -> None:
    await flows.go.wait()


@workflow(closed_kept="1d")
async def shortly_kept(places: list[str]) -> None:
    await flows.go.wait()


def test_a_closed_run_is_kept_for_seven_days() -> None:
    """It can be read for seven days, and two days later nothing of it is left."""
    stage = Stage(flows.travel)
    pass_time(stage, 1)
    close(stage, memo=encode_memo({"by": "ann"}))
    pass_time(stage, 7)
    assert stage.described()["status"] == "completed"
    pass_time(stage, 2)
    assert rows(stage, b"run-1") == []


def test_a_type_says_how_long_its_runs_are_kept() -> None:
    """`closed_kept` of a type is longer or shorter than the setting, and holds where the type is hosted no more."""
    stage = Stage(flows.travel, long_kept, shortly_kept)
    pass_time(stage, 1)
    for flow in (flows.travel, long_kept, shortly_kept):
        close(stage, flow.name, flow)
    stage.restart(flows.travel)
    pass_time(stage, 3)
    assert (rows(stage, b"shortly_kept"), bool(rows(stage, b"travel"))) == ([], True)
    pass_time(stage, 26)
    assert (rows(stage, b"travel"), bool(rows(stage, b"long_kept"))) == ([], True)
    pass_time(stage, 4)
    assert rows(stage, b"long_kept") == []


def test_expiry_deletes_all_of_a_run_a_little_at_a_time() -> None:
    """After its time a closed run leaves no row at all, and no layer deletes more than some hundreds of rows more than
    it writes, however long histories are."""
    stage = Stage(flows.travel)
    pass_time(stage, 1)
    for number in range(3):
        stage.start(flows.travel, [], id=f"run-{number}")
        for _ in range(700):
            stage.put("commands", 0, encode(_signal(f"run-{number}", stage.message_id(), "other")))
        stage.put("commands", 0, encode(_start(f"run-{number}", stage.message_id(), "restart_closed")))
        stage.settle()
        stage.signal("go", id=f"run-{number}")
    deleted: list[int] = []
    write = stage.stores[0].write
    stage.stores[0].write = lambda rows: deleted.append(list(rows.values()).count(None)) or write(rows)
    pass_time(stage, 13)
    assert rows(stage, b"run-") == []
    assert sum(deleted) > 3 * 1_400
    assert max(deleted) <= ROWS_MAX + 10


def _start(id: str, message_id: str, on_existing: OnExisting = "use_existing") -> StartWorkflow:
    return StartWorkflow(
        workflow_id=id, workflow_type="travel", input=b"[]", message_id=message_id, on_existing=on_existing
    )


def _signal(id: str, message_id: str, name: str = "go") -> SignalWorkflow:
    return SignalWorkflow(workflow_id=id, signal=name, input=b"null", message_id=message_id)


def test_expiry_keeps_up_with_any_rate_of_closing() -> None:
    """With 1,200 runs a layer, far above what a single layer deletes by itself, closed runs do not pile up."""
    stage = Stage(flows.travel, closed_kept_ms=DAY_MS)
    kept = []
    for day in range(7):
        for hours in range(3):
            for number in range(1_200):
                id = f"{day}/{hours}/{number}"
                stage.put("commands", 0, encode(_start(id, f"{id}/start")))
                stage.put("commands", 0, encode(TerminateWorkflow(workflow_id=id, message_id=f"{id}/end")))
            stage.settle()
            stage.advance(HOURS_8_MS / 1000)
        kept.append(len(list(stage.stores[0].scan(CLOSED, CLOSED + b"\xff"))))
    # A day by the setting, half a day for the log's time, a day for the bucket, and the one that is under way.
    assert max(kept) <= 4 * 3 * 1_200
    assert len(rows(stage, b"")) <= 5 * kept[-1] + 10


def test_expiry_of_an_old_run_keeps_the_present_run_of_its_id() -> None:
    """When a closed run's time is over, the current run of the same id keeps its header, history and messages."""
    stage = Stage(flows.travel)
    pass_time(stage, 1)
    first = close(stage)
    pass_time(stage, 4)
    second = stage.start(flows.travel, [], on_existing="restart_closed")
    stage.tell(_signal("run-1", "of the second", "other"))
    pass_time(stage, 5)
    assert stage.history(run_id=first) == []
    assert rows(stage, first.encode()) == []
    stage.tell(_signal("run-1", "of the second", "other"))
    stage.restart()
    stage.signal("go")
    assert stage.described()["status"] == "completed"
    assert stage.events().count("SignalReceived") == 2
    assert stage.described()["run_id"] == second


def test_messages_are_recognised_as_long_as_their_run_is_kept() -> None:
    """A signal, a start and a start that joined have no effect again weeks later in an open run, days after it closed,
    and in a later run of the id."""
    stage = Stage(flows.travel)
    first = stage.start(flows.travel, [])
    joins = _start("run-1", "joins", "restart_closed")
    again = [joins, _signal("run-1", "once", "other")]
    for command in again:
        stage.tell(command)
    again.append(_start("run-1", first, "restart_closed"))
    pass_time(stage, 20)
    stage.signal("go")
    for days in (6, 0.5):
        pass_time(stage, days)
        for command in again:
            stage.tell(command)
        assert stage.described()["run_id"] == first
        assert stage.events().count("SignalReceived") == 2
    second = stage.start(flows.travel, [], on_existing="restart_closed")
    for command in again:
        stage.tell(command)
    assert stage.described()["run_id"] == second
    assert "SignalReceived" not in stage.events()


@pytest.mark.parametrize("log_leaps", [False, True], ids=["processor", "processor and log"])
def test_a_clock_that_leaps_deletes_nothing(log_leaps: bool) -> None:
    """A clock that is three days ahead for hours, the processor's alone or that of the log too, deletes no run that has
    just closed: its start has no effect again."""
    stage = Stage(flows.travel, closed_kept_ms=DAY_MS)
    pass_time(stage, 2)
    first = close(stage)
    stage.now_ms += 3 * DAY_MS
    stage.log_ahead_ms = 0 if log_leaps else -3 * DAY_MS
    for _ in range(8):
        stage.advance(3_600)
        stage.signal("knock", id="elsewhere")
    stage.log_ahead_ms = -3 * DAY_MS
    stage.start(flows.travel, [], message_id=first, on_existing="restart_closed")
    assert stage.described()["status"] == "completed"
    pass_time(stage, 5)
    assert rows(stage, b"run-1") == []


def test_a_clock_that_is_behind_shortens_nothing() -> None:
    """A processor whose clock is days behind the log keeps a closed run as long as any other."""
    stage = Stage(flows.travel, closed_kept_ms=DAY_MS)
    stage.log_ahead_ms = 5 * DAY_MS
    pass_time(stage, 2)
    close(stage)
    pass_time(stage, 0.7)
    assert stage.described()["status"] == "completed"


def test_an_id_is_reused_while_its_old_run_is_being_deleted() -> None:
    """A start under an id whose closed run is half deleted begins a new run, also after a restart: nothing of the old
    one is returned, and the rest of it goes."""
    stage = Stage(flows.travel)
    pass_time(stage, 1)
    first = stage.start(flows.travel, [])
    for _ in range(1_500):
        stage.put("commands", 0, encode(_signal("run-1", stage.message_id(), "other")))
    stage.settle()
    stage.signal("go")
    all_rows = len(rows(stage, first.encode()))
    stage.advance(9 * DAY_MS / 1000)
    layers = 0
    while len(rows(stage, first.encode())) == all_rows:
        stage.advance(HOURS_8_MS / 1000)
        stage.signal("knock", id="elsewhere")
        layers += 1
        assert layers < 30, "waited 30 layers for the deletion to begin"
    assert rows(stage, first.encode()), "one layer deletes a part alone"
    stage.restart()
    second = stage.start(flows.travel, [], on_existing="restart_closed")
    assert (stage.described()["run_id"], stage.described()["status"]) == (second, "running")
    pass_time(stage, 3)
    assert rows(stage, first.encode()) == []
    stage.restart()
    stage.signal("go")
    assert (stage.described()["run_id"], stage.described()["status"]) == (second, "completed")
    assert "SignalReceived" in [event["event"] for event in stage.history()]


def test_a_late_result_finds_a_run_that_is_being_deleted() -> None:
    """A result that comes while its closed run is half deleted, and again after that, changes nothing: all of the run
    goes, and nothing more is due."""
    stage = Stage(flows.travel, flows.retried)
    pass_time(stage, 1)
    run_id = stage.start(flows.retried, 1)
    (task,) = stage.take("tasks")
    for _ in range(1_500):
        stage.put("commands", 0, encode(_signal("run-1", stage.message_id(), "other")))
    stage.settle()
    stage.terminate()
    all_rows = len(rows(stage, run_id.encode()))
    stage.advance(7 * DAY_MS / 1000)
    layers = 0
    while len(rows(stage, run_id.encode())) == all_rows:
        stage.advance(HOURS_8_MS / 1000)
        stage.signal("knock", id="elsewhere")
        layers += 1
        assert layers < 30, "waited 30 layers for the deletion to begin"
    left = rows(stage, run_id.encode())
    assert left, "one layer deletes a part alone"
    stage.complete(task, 1)
    pass_time(stage, 3)
    assert rows(stage, run_id.encode()) == []
    stage.complete(task, 1)
    assert rows(stage, run_id.encode()) == []
    assert stage.nodes[0].next_due_ms > stage.now_ms


def test_an_open_run_is_never_deleted() -> None:
    """A run that is open for longer than closed runs are kept has all of its history."""
    stage = Stage(shortly_kept)
    stage.start(shortly_kept, [])
    pass_time(stage, 40)
    stage.restart()
    stage.signal("go")
    assert stage.described()["status"] == "completed"


def test_a_shortened_time_concerns_later_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A type that is changed to be kept for a shorter time keeps runs that began before for as long as it said then."""
    stage = Stage(flows.travel, long_kept)
    pass_time(stage, 1)
    close(stage, "before", long_kept)
    monkeypatch.setattr(long_kept, "closed_kept_ms", DAY_MS)
    close(stage, "after", long_kept)
    pass_time(stage, 4)
    assert (bool(rows(stage, b"before")), rows(stage, b"after")) == (True, [])


@pytest.mark.parametrize(("days", "is_kept"), [(2, False), (20, True)])
def test_a_changed_setting_concerns_closed_runs(days: int, is_kept: bool) -> None:
    """Runs that have closed go by the setting of the processor that has their shard, be it shorter or longer."""
    stage = Stage(flows.travel)
    pass_time(stage, 1)
    close(stage)
    pass_time(stage, 1)
    stage.limits = ShardLimits(closed_kept_ms=days * DAY_MS)
    stage.restart()
    pass_time(stage, 3 if days == 2 else 12)
    assert bool(rows(stage, b"run-1")) == is_kept


def test_a_run_that_was_reset_outlives_its_base() -> None:
    """When the time of the base is over, the open run that goes on from it has the whole history, and replays."""
    stage = Stage(flows.travel)
    pass_time(stage, 1)
    base = stage.start(flows.travel, [])
    stage.signal("other")
    stage.tell(ResetWorkflow(workflow_id="run-1", to_event=stage.described()["events"], message_id="r"))
    before = stage.history()
    pass_time(stage, 12)
    assert not [key for key in rows(stage, base.encode()) if key.startswith((CLOSED, HISTORY))]
    assert stage.history() == before
    stage.restart()
    stage.signal("go")
    assert stage.described()["status"] == "completed"


async def _ends(how: str) -> None:
    if how == "continued" and not info().run_id.startswith("message"):
        how = "completed"
    await flows.go.wait()
    if how == "failed":
        raise ValueError(how)
    if how == "continued":
        continue_as_new(ends_by_setting(how))


@workflow
async def ends_by_setting(how: str) -> None:
    await _ends(how)


@workflow(closed_kept={"failed": "3d", "cancelled": timedelta(days=3), "terminated": "3d", "reset": "3d"})
async def ends_by_type(how: str) -> None:
    await _ends(how)


ENDINGS = ("completed", "failed", "timed out", "too long", "cancelled", "terminated", "continued", "reset")


def _end(stage: Stage, flow: Any, how: str) -> str:
    """Let a run close in a way; returns its id."""
    stage.nodes[0].runs.hosted.history_max = 12
    run_id = stage.start(flow, how, run_timeout_ms=60_000 if how == "timed out" else 0)
    match how:
        case "timed out":
            stage.advance(61)
        case "too long":
            for _ in range(12):
                stage.signal("other")
        case "cancelled":
            stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c"))
        case "terminated":
            stage.terminate()
        case "reset":
            stage.tell(ResetWorkflow(workflow_id="run-1", to_event=0, message_id="r"))
        case _:
            stage.signal("go")
    stage.nodes[0].runs.hosted.history_max = 50_000
    return run_id


@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("flow", [ends_by_setting, ends_by_type], ids=["setting", "type"])
def test_each_way_to_close_has_its_time(flow: Any, how: str) -> None:
    """A status has the time of the type, else that of the processors' setting, else the setting's for all others; each
    way in which a run closes goes by its status, and a deletion finds it."""
    status = {"timed out": "failed", "too long": "failed"}.get(how, how)
    days = 3 if flow is ends_by_type and status not in {"completed", "continued"} else 5 if status != "completed" else 1
    stage = Stage(ends_by_setting, ends_by_type)
    stage.limits = ShardLimits(DAY_MS, closed_kept_by_status=dict.fromkeys(set(STATUSES) - {"completed"}, 5 * DAY_MS))
    stage.restart()
    pass_time(stage, 1)
    run_id = _end(stage, flow, how)
    if how in {"continued", "reset"}:
        assert stage.described()["run_id"] != run_id
    else:
        assert stage.described()["status"] == status
    pass_time(stage, days)
    assert rows(stage, run_id.encode())
    pass_time(stage, 2.4)
    assert rows(stage, b"Z") == [] if status not in {"continued", "reset"} else not _entries(stage, run_id)
    if how not in {"continued", "reset"}:
        run_id = _end(stage, flow, how)
        assert _entries(stage, run_id)
        stage.tell(DeleteWorkflow(workflow_id="run-1", message_id="d"))
        assert not _entries(stage, run_id)


def _entries(stage: Stage, run_id: str) -> list[bytes]:
    """The run's entries in the index of closed runs."""
    return [key for key, _ in stage.stores[0].scan(CLOSED, CLOSED + b"\xff") if key.endswith(run_id.encode())]


def test_an_earlier_run_may_be_kept_for_longer() -> None:
    """The failed run of an id stays when the completed one after it has gone, and a deletion removes it."""
    stage = Stage(kept_if_failed)
    pass_time(stage, 1)
    first = stage.start(kept_if_failed, "failed")
    stage.signal("go")
    stage.start(kept_if_failed, "completed", on_existing="restart_closed")
    stage.signal("go")
    pass_time(stage, 4)
    assert (stage.history(run_id=first)[-1]["event"], rows(stage, b"Rrun-1")) == ("WorkflowFailed", [])
    stage.tell(DeleteWorkflow(workflow_id="run-1", message_id="d"))
    assert (stage.history(run_id=first), rows(stage, first.encode())) == ([], [])


@workflow(closed_kept={"completed": "1d", "failed": "30d"})
async def kept_if_failed(how: str) -> None:
    await _ends(how)


def test_times_by_status_are_checked() -> None:
    """Each status of a closed run may have a time; an unknown one, and a wrong duration, are named."""
    assert set(STATUSES) == CLOSED_STATUSES == set(SETTING_OF)
    assert max(SETTING_OF.values()) < KEPT_MS_MIN
    assert kept_of(dict.fromkeys(STATUSES, "2d")).by_status == dict.fromkeys(STATUSES, 2 * DAY_MS)
    with pytest.raises(BadInput, match=r"@workflow\(closed_kept=…\): 'timed_out' is no status of a closed run"):
        workflow(closed_kept={"timed_out": "1d"})
    with pytest.raises(BadDuration, match="soon"):
        workflow(closed_kept={"failed": "soon"})
