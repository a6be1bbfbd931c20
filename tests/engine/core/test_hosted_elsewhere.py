"""Tests of a rolling deploy as a shard sees it: types that only others host, and records of newer builds."""

from __future__ import annotations

import pytest

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.keys import HISTORY, run_prefix
from penstock.engine.runtime import reads
from penstock.schemas.encoding.codec import MAGIC, decode, encode
from penstock.schemas.errors import UnknownSchema
from penstock.schemas.records.run import StartWorkflow
from penstock.schemas.values.levels import LEVEL
from tests.engine.stage import Stage

go = Signal("elsewhere-go", int)


@workflow(name="elsewhere-new", version=3)
async def new(number: int) -> int:
    return number + await go.wait()


@workflow(name="elsewhere-old")
async def old() -> int:
    return await go.wait()


@workflow(name="elsewhere-counting")
class Counting:
    def __init__(self) -> None:
        self.count = 0

    @workflow.run
    async def run(self) -> int:
        return await go.wait()

    @workflow.update
    def add(self, number: int) -> int:
        self.count += number
        return self.count


def deploys(stage: Stage, *types: str, version: int = 3) -> None:
    """The registry shows other live processors with these types."""
    for node in stage.nodes:
        node.runs.hosted.note_others(dict.fromkeys(types, version), LEVEL)
        assert node.runs.hosted.has_news()
        node.blocked.try_again("unknown_type", "unhosted_type")
    stage.tick()


def start(stage: Stage, input: bytes = b"1") -> None:
    command = StartWorkflow(
        workflow_id="run-1", workflow_type="elsewhere-new", input=input, message_id="first", reply_to=0
    )
    stage.tell(command)


def test_a_start_of_a_type_that_others_host_waits_and_goes_on() -> None:
    """Such a start is accepted and waits, visibly; with an owner that hosts the type it runs by itself."""
    stage = Stage(old)
    deploys(stage, "elsewhere-new")
    start(stage)
    (reply,) = stage.take("replies")
    assert (reply.status, "by itself" in reply.note) == ("waiting", True)
    assert (stage.described()["status"], stage.described()["version"]) == ("waiting", 3)
    assert [run["workflow_id"] for run in reads.list_runs(stage.stores[0], status="waiting")] == ["run-1"]
    assert reads.list_runs(stage.stores[0], status="blocked") == []
    stage.signal("elsewhere-go", 41)
    stage.restart(old, new)
    assert (stage.described()["status"], stage.described()["result"]) == ("completed", 42)


def test_a_start_that_waited_is_checked_when_it_begins() -> None:
    """An input that the type cannot take fails the run when its code is there, and is no matter for an operator."""
    stage = Stage(old)
    deploys(stage, "elsewhere-new")
    start(stage, b'"no number"')
    stage.restart(old, new)
    assert stage.described()["status"] == "failed"
    assert "elsewhere-new cannot take this input" in stage.described()["failure"]["message"]


def test_a_start_that_waits_takes_nothing_of_the_run_that_it_replaces() -> None:
    """A start that terminates a running run and waits is not shown with its predecessor's signals."""
    stage = Stage(old)
    stage.start(old)
    deploys(stage, "elsewhere-new")
    command = StartWorkflow(
        workflow_id="run-1",
        workflow_type="elsewhere-new",
        input=b"1",
        message_id="second",
        on_existing="terminate_existing",
    )
    stage.tell(command)
    described = stage.described()
    assert (described["run_id"], described["status"], described["signals_awaited"]) == ("second", "waiting", [])


def test_a_type_that_no_live_processor_hosts_is_refused() -> None:
    """The refusal lists what this processor and the others host."""
    stage = Stage(old)
    deploys(stage, "elsewhere-third")
    start(stage)
    (reply,) = stage.take("replies")
    assert (reply.reason, "hosted: elsewhere-old, elsewhere-third." in reply.message) == ("unknown_type", True)


def test_an_open_run_of_a_type_that_others_host_waits_and_goes_on() -> None:
    """A run whose shard went to an older build waits instead of being BLOCKED, and goes on with the newer one."""
    stage = Stage(old, new)
    stage.start(new, 1)
    stage.restart(old)
    deploys(stage, "elsewhere-new")
    stage.signal("elsewhere-go", 41)
    assert (stage.described()["status"], stage.described()["blocked_reason"]) == ("waiting", "unhosted_type")
    stage.restart(old, new)
    assert stage.described()["result"] == 42


def away(update: str) -> Stage:
    """A run whose shard went to an older build, and that gets an update there."""
    stage = Stage(old, Counting)
    stage.start(Counting)
    stage.restart(old)
    deploys(stage, "elsewhere-counting", version=1)
    assert stage.update(update, 2) is None
    assert stage.described()["status"] == "waiting"
    assert stage.update(update, 3) is None
    return stage


def test_an_update_waits_with_its_run() -> None:
    """An update of a run that waits for an owner with its type is held, and answered when the run goes on there."""
    stage = away("add")
    stage.restart(old, Counting)
    assert [reply.result for reply in stage.take("replies")] == [b"2", b"5"]
    assert stage.update("add", 4).result == b"9"


def test_an_unknown_update_that_waited_is_rejected() -> None:
    """The code that arrives rejects an update that it does not have, and lists those that it has."""
    stage = away("subtract")
    stage.restart(old, Counting)
    assert [(reply.reason, "add" in reply.message) for reply in stage.take("replies")] == 2 * [
        ("update_rejected", True)
    ]


def test_a_run_follows_the_registry() -> None:
    """A run that no live processor hosts is BLOCKED; it waits while another one hosts it, and is BLOCKED after that."""
    stage = Stage(old, new)
    stage.start(new, 1)
    stage.restart(old)
    stage.signal("elsewhere-go", 41)
    seen = [stage.described()["status"]]
    for types in (("elsewhere-new",), ()):
        deploys(stage, *types)
        seen.append(stage.described()["status"])
    assert seen == ["blocked", "waiting", "blocked"]
    deploys(stage, "elsewhere-third")
    assert stage.events().count("WorkflowUnblocked") == 2
    stage.restart(old, new)
    assert stage.described()["result"] == 42


def newer(record: object) -> bytes:
    """The record as a newer build writes it: with a schema that this program does not know."""
    return MAGIC + b"newschem" + encode(record)[10:]  # type: ignore[arg-type]


def test_a_record_of_a_newer_build_stops_the_shard() -> None:
    """In a namespace of a higher level, a record of an unknown schema is no dead letter: the shard stops before it."""
    stage = Stage(old)
    stage.nodes[0].runs.hosted.note_others({}, LEVEL + 1)
    stage.put("commands", 0, newer(StartWorkflow(workflow_id="run-1", workflow_type="elsewhere-old")))
    with pytest.raises(UnknownSchema, match="upgrade this program"):
        stage.settle()
    assert stage.take("dead-letters") == []


def test_an_unknown_schema_is_a_dead_letter_in_a_namespace_of_this_level() -> None:
    """While newer builds write nothing new, such bytes are a foreign producer's mistake, and the shard goes on."""
    stage = Stage(old)
    stage.put("commands", 0, newer(StartWorkflow(workflow_id="run-1", workflow_type="elsewhere-old")))
    stage.start(old, id="run-2")
    assert [letter.reason for letter in stage.take("dead-letters")] == ["undecodable"]
    assert stage.described("run-2")["status"] == "running"


def test_a_newer_event_in_a_history_blocks_no_run() -> None:
    """A history with an event of a newer build stops the shard; its run is not BLOCKED."""
    stage = Stage(old)
    stage.start(old)
    prefix = run_prefix(HISTORY, "run-1", stage.described()["run_id"])
    ((key, value),) = list(stage.stores[0].scan(prefix, prefix + b"\xff"))
    record = decode(value)
    assert encode(decode(record.events[0])) in value
    stage.stores[0].write({key: value.replace(record.events[0][:10], MAGIC + b"newschem")})
    stage.restart()
    with pytest.raises(UnknownSchema):
        stage.signal("elsewhere-go", 1)
    assert stage.described()["status"] == "running"
