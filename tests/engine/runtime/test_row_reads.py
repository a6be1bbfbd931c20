"""Tests of reads over the log: what a shard answers about its rows, in pages and parts, and that it leaves no trace."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.engine.core.limits import CALLER_MS
from penstock.engine.runtime import answers as answering
from penstock.engine.runtime import reads, row_reads
from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.kinds import Command
from penstock.schemas.records.reading import DescribeWorkflow, ListWorkflows, ReadHistory
from penstock.schemas.records.replies import ReadAnswered, Rejected
from penstock.schemas.records.signal import SignalWorkflow
from penstock.topics.partitioner import partition_of
from tests.engine.core import flows
from tests.engine.core.counters import Counter
from tests.engine.stage import Stage

KINDS: list[Command] = [
    DescribeWorkflow(workflow_id="run-1"),
    ReadHistory(workflow_id="run-1"),
    ListWorkflows(),
]


def _asked(stage: Stage, command: Command, shard: int = 0) -> Any:
    """The answer to a read, joined and decoded; the Rejected instead of one; None without a reply."""
    stage.take("replies")
    stage.put("commands", shard, encode(msgspec.structs.replace(command, message_id="read", reply_to=0)))
    stage.settle()
    replies = stage.take("replies")
    if not replies or isinstance(replies[0], Rejected):
        return next(iter(replies), None)
    assert [(reply.part, reply.parts, reply.shard) for reply in replies] == [
        (number, len(replies), shard) for number in range(1, len(replies) + 1)
    ]
    return msgspec.json.decode(b"".join(reply.data for reply in replies))


def _counting(number: int = 3) -> Stage:
    stage = Stage(Counter)
    stage.start(Counter, number)
    for _ in range(5):
        stage.signal("increase", 1)
    return stage


def test_a_description_is_that_of_the_store() -> None:
    """DescribeWorkflow is answered with what committed reads return, and with the notes of the processor."""
    stage = _counting()
    stage.nodes[0].runs.hosted.notes = lambda run: [f"a note on {run['workflow_id']}"]
    found = _asked(stage, DescribeWorkflow(workflow_id="run-1"))
    assert found == {**stage.described(), "unhosted": ["a note on run-1"]}


@pytest.mark.parametrize("page_bytes", [1, 400, 1 << 20])
def test_pages_of_a_history_are_the_history(monkeypatch: pytest.MonkeyPatch, page_bytes: int) -> None:
    """The pages of a history, each from where the last one ended, are its events: whatever a page may take."""
    monkeypatch.setattr(reads, "PAGE_BYTES_MAX", page_bytes)
    stage = _counting()
    events: list[dict[str, Any]] = []
    run_id, more, pages = "", True, 0
    while more:
        command = ReadHistory(workflow_id="run-1", run_id=run_id, after=events[-1]["number"] if events else 0)
        page = _asked(stage, command)
        events += page["events"]
        run_id, more, pages = page["run_id"], page["more"], pages + 1
    assert events == stage.history()
    assert run_id == stage.described()["run_id"]
    assert (pages > 1) == (page_bytes < 1 << 20)


@pytest.mark.parametrize(("rows", "size"), [(1, 1 << 20), (3, 1 << 20), (5_000, 1), (5_000, 1 << 20)])
def test_pages_of_a_list_are_the_list(monkeypatch: pytest.MonkeyPatch, rows: int, size: int) -> None:
    """The pages of a list are its runs, also those that match a filter, whatever a page may look at or take."""
    monkeypatch.setattr(reads, "PAGE_ROWS_MAX", rows)
    monkeypatch.setattr(reads, "PAGE_BYTES_MAX", size)
    stage = Stage(flows.five, flows.approved)
    for number in range(10):
        stage.start(flows.five if number % 3 else flows.approved, *([1] if number % 3 else []), id=f"run-{number}")
    for status, type_ in (("", ""), ("running", ""), ("", flows.approved.name), ("failed", "")):
        found: list[Any] = []
        after, ended = "", False
        while not ended:
            page = _asked(stage, ListWorkflows(status=status, workflow_type=type_, limit=4, after=after))
            assert len(page["runs"]) <= 4
            found += page["runs"]
            after = page["next"]
            ended = not after
        assert found == reads.list_runs(stage.stores[0], status=status or None, workflow_type=type_ or None)


def test_a_list_is_of_the_shard_that_it_was_sent_to() -> None:
    """ListWorkflows is answered by each shard about its own runs, and is not forwarded."""
    stage = Stage(flows.five, shards=3)
    ids = [f"run-{number}" for number in range(9)]
    for id in ids:
        stage.start(flows.five, 1, id=id)
    for shard in range(3):
        found = [run["workflow_id"] for run in _asked(stage, ListWorkflows(), shard)["runs"]]
        assert found == [id for id in ids if partition_of(id, 3) == shard]


@pytest.mark.parametrize("command", KINDS, ids=lambda command: type(command).__name__)
def test_a_read_leaves_no_trace(command: Command) -> None:
    """A read writes its answer alone: no event, no row beside the shard's own, no number of a decision."""
    stage = _counting()
    before = dict(stage.stores[0].scan(b"", b"\xff"))
    stage.sent.clear()
    assert _asked(stage, command)
    after = dict(stage.stores[0].scan(b"", b"\xff"))
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert len(changed) == 1, "the shard's row has the next offset"
    assert {kind for kind, records in stage.sent.items() if records} == set()


@pytest.mark.parametrize("command", KINDS, ids=lambda command: type(command).__name__)
def test_a_read_sees_decisions_of_its_own_layer(command: Command) -> None:
    """The answer shows what was decided before in the same transaction, and leaves with it."""
    stage = _counting()
    stage.take("replies")
    signal = SignalWorkflow(workflow_id="run-1", signal="increase", input=b"5", message_id="s")
    events = len(stage.history())
    for sent in (signal, msgspec.structs.replace(command, message_id="read", reply_to=0)):
        stage.put("commands", 0, encode(sent))
    assert stage.take("replies") == []
    stage.settle()
    (reply,) = stage.take("replies")
    assert isinstance(reply, ReadAnswered)
    found = msgspec.json.decode(reply.data)
    shown = found["runs"][0]["events"] if "runs" in found else found["events"]
    assert (len(shown) if isinstance(shown, list) else shown) == events + 1


@pytest.mark.parametrize("command", KINDS, ids=lambda command: type(command).__name__)
def test_a_late_read_is_dropped(command: Command) -> None:
    """A read that is reached with a record of after its caller's time leaves no reply; one in time does."""
    for timeout_ms, late_ms, answers in ((0, 0, 1), (0, 1, 0), (50, 0, 1), (50, 1, 0)):
        stage = _counting()
        stage.take("replies")
        sent = msgspec.structs.replace(command, message_id="read", reply_to=0, timeout_ms=timeout_ms)
        stage.log_ahead_ms = -(timeout_ms or CALLER_MS) - late_ms
        stage.put("commands", 0, encode(sent))
        stage.log_ahead_ms = 0
        stage.put("commands", 0, encode(SignalWorkflow(workflow_id="none", signal="any", message_id="newer")))
        stage.settle()
        assert len(stage.take("replies")) == answers


@pytest.mark.parametrize("command", KINDS, ids=lambda command: type(command).__name__)
def test_a_read_without_reply_disappears(command: Command) -> None:
    """A read that asks for no reply causes none, found or not, and no dead letter."""
    for stage in (_counting(), Stage(Counter)):
        stage.sent.clear()
        stage.put("commands", 0, encode(msgspec.structs.replace(command, message_id="read")))
        stage.settle()
        assert {kind for kind, records in stage.sent.items() if records} == set()


def test_what_is_not_there() -> None:
    """An unknown id, and an unknown run of a known id, are refused with a sentence; a list is empty."""
    stage = Stage(Counter)
    missing = _asked(stage, DescribeWorkflow(workflow_id="run-1"))
    assert (missing.reason, missing.message) == ("not_found", "There is no run with the id run-1.")
    assert _asked(stage, ReadHistory(workflow_id="run-1")).message == missing.message
    assert _asked(stage, ListWorkflows()) == {"runs": [], "next": ""}
    stage = _counting()
    other = _asked(stage, ReadHistory(workflow_id="run-1", run_id="other"))
    assert (other.reason, other.message) == ("not_found", "run-1 has no run other.")


def test_the_page_behind_the_last_event_is_empty() -> None:
    """A page behind the last event has none and says that no more follow."""
    stage = _counting()
    page = _asked(stage, ReadHistory(workflow_id="run-1", after=1_000))
    assert page == {"run_id": stage.described()["run_id"], "events": [], "more": False}


@pytest.mark.parametrize("limit", [0, -1, reads.LIMIT_MAX + 1])
def test_a_limit_out_of_range_is_refused(limit: int) -> None:
    """A list with a limit that is not from 1 to 10,000 is refused."""
    refused = _asked(Stage(Counter), ListWorkflows(limit=limit))
    assert (refused.reason, refused.message) == ("bad_input", "limit must be a number from 1 to 10000.")


def test_a_large_answer_has_several_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer beyond the size of a record is divided, and its parts join to it."""
    monkeypatch.setattr(answering, "PART_BYTES_MAX", 100)
    stage = _counting()
    assert _asked(stage, ReadHistory(workflow_id="run-1"))["events"] == stage.history()
    assert _asked(stage, DescribeWorkflow(workflow_id="run-1")) == {**stage.described(), "unhosted": []}


def test_a_description_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that waits for more than a description may read is refused, and its shard goes on."""
    monkeypatch.setattr(row_reads, "READ_BYTES_MAX", 2_000)
    stage = Stage(flows.fan)
    stage.start(flows.fan, 100)
    refused = _asked(stage, DescribeWorkflow(workflow_id="run-1"))
    assert refused.reason == "too_large"
    assert "run-1 waits for so much" in refused.message
    assert _asked(stage, ReadHistory(workflow_id="run-1"))["events"] == stage.history()


@pytest.mark.parametrize("command", KINDS, ids=lambda command: type(command).__name__)
def test_a_read_that_fails_harms_nothing(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    """An error inside a read is its answer; the shard and the run go on."""

    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("unexpected")

    stage = _counting()
    with monkeypatch.context() as patch:
        for name in ("describe", "history_page", "runs_page"):
            patch.setattr(reads, name, fails)
        assert _asked(stage, command).reason == "engine_error"
    assert _asked(stage, command)
    assert stage.described()["status"] == "running"


def test_rows_that_are_read_take_room_of_the_turn() -> None:
    """A read uses the room of its turn for every row that it looks at, so that reads alone do not prolong it."""
    stage = Stage(flows.five)
    for number in range(20):
        stage.start(flows.five, 1, id=f"run-{number}")
    room = row_reads.Room(records=1_000, bytes=1_000)
    stage.nodes[0]._row_reads.found(ListWorkflows(status="failed"), room)
    assert room.records == 980


def test_reads_as_json() -> None:
    """Programs without Avro ask with the fields of the records; a list has no id."""
    stage = _counting()
    for line in (
        b'{"command":"DescribeWorkflow","id":"run-1","reply_to":0}',
        b'{"command":"ReadHistory","id":"run-1","after":2,"reply_to":0}',
        b'{"command":"ListWorkflows","type":"counter","limit":3,"reply_to":0}',
    ):
        stage.take("replies")
        stage.put("commands", 0, line)
        stage.settle()
        (reply,) = stage.take("replies")
        assert isinstance(reply, ReadAnswered)
        assert msgspec.json.decode(reply.data)
