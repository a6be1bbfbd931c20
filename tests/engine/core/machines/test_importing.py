"""Tests of imports: what a run that was exported is in another namespace, and what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.engine.core.keys import DAY_MS, HISTORY, SHARD_KEY
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.failure import Failure
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.replies import Accepted, RunClosed
from penstock.schemas.records.reset import ResetWorkflow
from penstock.schemas.records.retention import DeleteWorkflow, ImportWorkflow
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, StartWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.values.attributes import encode_memo, encode_search
from tests.engine.core import counters, flows
from tests.engine.core.test_expiry import close, pass_time, rows
from tests.engine.stage import Stage
from tests.simulation.fold import Fold

ENDS = ("completed", "failed", "cancelled", "terminated", "reset", "updated", "signalled early", "parent")


def ended(how: str) -> Stage:
    """A stage whose run-1 has closed in a way."""
    stage = Stage(flows.travel, flows.parent, flows.five, counters.Counter, flows.failing, flows.approved)
    described = {"memo": encode_memo({"by": "ann"}), "search": encode_search({"tier": "gold"})}
    match how:
        case "updated":
            stage.start(counters.Counter, 1, **described)
            stage.update("set_to", 7, message_id="u")
            stage.signal("close")
        case "failed":
            stage.start(flows.failing, 1, **described)
        case "parent":
            stage.start(flows.parent, "kid", **described)
            stage.run(add=lambda a, b: a + b)
        case "signalled early":
            stage.tell(SignalWorkflow(workflow_id="run-1", signal="go", message_id="early"))
            stage.start(flows.travel, [], **described)
        case _:
            stage.start(flows.travel, ["hotel"], **described)
            (task,) = stage.take("tasks")
            stage.fail(task, Failure(type="app.Busy", message="busy"))
            stage.advance(2)
            if how == "reset":
                stage.tell(ResetWorkflow(workflow_id="run-1", to_event=1, message_id="r"))
            if how == "cancelled":
                stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c"))
            if how == "terminated":
                stage.terminate()
            stage.run(book_place=lambda place: place, unbook_place=lambda place: None)
            stage.signal("go")
    return stage


def history(stage: Stage) -> tuple[bytes, ...]:
    """The records of run-1's history, of the run that is the current one."""
    run_id = stage.described()["run_id"].encode()
    found = stage.stores[0].scan(HISTORY, HISTORY + b"\xff")
    return tuple(value for key, value in found if key.startswith(b"Hrun-1\x00%b\x00" % run_id))


def taken_in(stage: Stage, records: tuple[bytes, ...], run_id: str = "r", message_id: str = "import-1") -> Any:
    """The reply to an import."""
    return stage.replied(ImportWorkflow(workflow_id="run-1", run_id=run_id, records=records, message_id=message_id))


@pytest.mark.parametrize("how", ENDS)
def test_an_imported_run_is_the_one_that_was_exported(how: str) -> None:
    """It has the same description, history and result, nothing of it happens again, and its rows follow from the topic
    `events`; one that was closed by a time-out of days takes no time."""
    origin, target = ended(how), Stage()
    run_id = origin.described()["run_id"]
    fold = Fold()
    assert type(taken_in(target, history(origin), run_id)) is Accepted
    for record in target.sent["events"]:
        fold.apply(encode(record))
    stored = {key: value for key, value in target.stores[0].scan(b"", b"\xff") if key != SHARD_KEY}
    assert fold.rows == stored
    expected, found = origin.described(), target.described()
    for undeclared in (expected, found):
        del undeclared["handlers"]
    assert found == expected
    assert target.history() == origin.history()
    reply = target.replied(AwaitResult(workflow_id="run-1", message_id="w"))
    assert (type(reply), reply.status) == (RunClosed, expected["status"])
    assert set(target.sent) == {"events", "replies"}, "nothing else leaves the shard"
    target.advance(1)
    target.tell(StartWorkflow(workflow_id="run-1", workflow_type=expected["type"], message_id=run_id))
    assert target.described()["run_id"] == run_id, "its start is recognised"


def test_an_imported_run_is_kept_from_its_import_on() -> None:
    """A run that closed long ago is kept as long as one that closes now, then nothing of it is left."""
    origin, target = ended("updated"), Stage(flows.travel)
    target.now_ms += 300 * DAY_MS
    pass_time(target, 1)
    taken_in(target, history(origin), origin.described()["run_id"])
    pass_time(target, 6.5)
    assert target.described()["result"] == 7
    pass_time(target, 3)
    assert rows(target, b"run-1") == []


def test_an_id_with_a_run_is_refused() -> None:
    """Neither an open nor a closed run is replaced; the same command again is accepted, another one refused."""
    origin, target = ended("completed"), Stage(flows.travel)
    records, run_id = history(origin), origin.described()["run_id"]
    own = target.start(flows.travel, [])
    refused = taken_in(target, records, run_id)
    assert (refused.reason, "run-1 has a run here" in refused.message) == ("already_exists", True)
    target.signal("go")
    assert taken_in(target, records, run_id, "import-2").reason == "already_exists"
    assert target.described()["run_id"] == own
    target.tell(DeleteWorkflow(workflow_id="run-1", message_id="d"))
    for _ in range(2):
        assert type(taken_in(target, records, run_id, "import-3")) is Accepted
    assert taken_in(target, records, run_id, "import-4").reason == "already_exists"
    assert target.events().count("WorkflowStarted") == 1
    target.tell(DeleteWorkflow(workflow_id="run-1", message_id="d-2"))
    taken_in(target, records, run_id, "import-3")
    assert rows(target, b"Rrun-1") == [], "an import that is repeated after a deletion imports nothing"


def _changed(records: tuple[bytes, ...], index: int, **fields: Any) -> tuple[bytes, ...]:
    record = msgspec.structs.replace(decode(records[index]), **fields)
    return (*records[:index], encode(record), *records[index + 1 :][: len(records)])


BROKEN = {
    "no event": lambda records: (),
    "no record": lambda records: (b"x", *records),
    "no decision": lambda records: (decode(records[0]).events[0],),
    "open": lambda records: records[:-1],
    "a gap": lambda records: (records[0], *records[2:]),
    "no beginning": lambda records: records[1:],
    "twice": lambda records: (*records, records[-1]),
    "another id": lambda records: _changed(records, 0, workflow_id="run-2"),
    "an empty decision": lambda records: _changed(records, 0, events=()),
    "nonsense": lambda records: _changed(records, 0, events=(decode(records[0]).events[0], b"nonsense")),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_history_that_no_run_has_is_refused(how: str) -> None:
    """A history that is open, not whole, or that no closed run has, is one sentence, and nothing is written."""
    records = history(ended("completed"))
    assert isinstance(decode(records[0]), DecisionRecorded)
    target = Stage(flows.travel)
    refused = taken_in(target, BROKEN[how](records))
    assert (refused.reason, "is none that a closed run has" in refused.message) == ("bad_input", True), refused
    assert rows(target, b"run-1") == []


def test_what_cannot_be_imported_is_refused() -> None:
    """A schedule's id, a message id that is taken, and a history over the limit are refused."""
    records = history(ended("completed"))
    target = Stage(flows.travel)
    command = ImportWorkflow(workflow_id="schedule:x", run_id="r", records=records, message_id="i")
    assert "as only schedules do" in target.replied(command).message
    close(target)
    first = target.described()["run_id"]
    target.tell(DeleteWorkflow(workflow_id="run-1", message_id="d"))
    assert "is that of another message" in taken_in(target, records, first, "d").message
    refused = taken_in(target, (*records, b"x" * 1_000_000))
    assert (refused.reason, "and 960,000 at most are imported" in refused.message) == ("too_large", True)
