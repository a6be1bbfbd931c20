"""Tests of the watch, which logs workflow code that runs for long without waiting."""

import json
import threading
import time
from decimal import Decimal
from types import SimpleNamespace

import pytest
import structlog

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.hosted import Hosted
from penstock.engine.runtime import reads
from penstock.engine.runtime.driver import DriverSettings
from penstock.engine.runtime.processor import Processor
from penstock.engine.runtime.watch import Watch, activation_on
from penstock.schemas.encoding.codec import encode
from penstock.schemas.records.run import StartWorkflow
from penstock.topics import admin
from penstock.topics.catalogue import Topics, specs
from penstock.topics.embedded import MEMORY, EmbeddedLog
from penstock.topics.log import Record
from tests.engine.stage import Stage

WAIT_S = 60

scene = SimpleNamespace(watch=None, moments=[])
enough = threading.Event()
go = Signal("go", int)


def crunch() -> int:
    for moment in scene.moments:
        scene.watch.look(moment)
    return 7


@workflow(name="watch-crunches")
async def crunches() -> int:
    return crunch()


@workflow(name="watch-crunches-in-turns")
async def in_turns() -> None:
    for moment in scene.moments:
        scene.watch.look(moment)
        await go.wait()


@workflow(name="watch-calls-a-library")
async def calls_a_library() -> None:
    for moment in scene.moments:
        json.dumps(Decimal(moment), default=scene.watch.look)


@workflow(name="watch-goes-on-for-ever")
async def for_ever() -> None:
    while not enough.is_set():
        pass


@pytest.fixture
def lines(monkeypatch):
    """The logged lines; the watch looks at this thread whenever workflow code or the test calls `look`."""
    monkeypatch.setattr(scene, "watch", Watch(threading.get_ident(), slow_s=5))
    with structlog.testing.capture_logs() as captured:
        yield captured


def logged(lines):
    return [(line["log_level"], line["workflow_id"], line["running_s"], "at" in line) for line in lines]


def test_code_that_runs_on(lines):
    """Code that runs for long is logged once while it runs, with its line, and once when it has ended."""
    scene.moments = [100.0, 104.9, 105.0, 106.0, 107.0]
    Stage(crunches).start(crunches, id="order-1")
    assert logged(lines) == [("warning", "order-1", 5.0, True)]
    scene.watch.look(108.0)
    scene.watch.look(109.0)
    assert logged(lines) == [("warning", "order-1", 5.0, True), ("warning", "order-1", 8.0, False)]
    first, last = lines
    assert first["workflow_type"] == last["workflow_type"] == "watch-crunches"
    assert first["run_id"] == last["run_id"] != ""
    assert first["at"].endswith(f"{crunch.__code__.co_filename}:{crunch.__code__.co_firstlineno + 2} in crunch")
    assert "move long work into an activity" in first["event"]


def test_code_that_waits_in_between(lines):
    """Many short activations of one run, one after the other, do not count as a long one."""
    scene.moments = [100.0, 103.0, 106.0, 109.0]
    stage = Stage(in_turns)
    stage.start(in_turns, id="order-1")
    for number in range(4):
        stage.signal("go", number, id="order-1")
    assert lines == []


def test_a_library_that_runs_on(lines):
    """Inside a library, the line is the one from which users' own code called it."""
    scene.moments = [100, 106]
    Stage(calls_a_library).start(calls_a_library, id="order-1")
    (line,) = lines
    assert line["at"].endswith("in calls_a_library")


def test_no_workflow_code():
    """A thread that is in no workflow code, or is gone, is in no activation."""
    assert activation_on(threading.get_ident()) is None
    assert activation_on(-1) is None


def test_a_processor_is_watched():
    """A processor logs workflow code that does not wait while it runs, and again when it has ended."""
    topics = Topics("watched")
    log = EmbeddedLog(MEMORY)
    admin.apply(log, admin.plan(log, specs(topics, 1, ["default"])))
    enough.clear()
    settings = DriverSettings(slow_activation_s=0.2)
    processor = Processor(log, topics, 1, Hosted({for_ever.name: for_ever}), settings=settings)

    def until_lines(number):
        deadline = time.monotonic() + WAIT_S
        while len(found := [line for line in lines if "running_s" in line]) < number:
            assert time.monotonic() < deadline, f"waited {WAIT_S} s for {number} lines of log: {lines}"
            time.sleep(0.05)
        return found

    with structlog.testing.capture_logs() as lines:
        processor.start()
        publisher = log.publisher()
        start = StartWorkflow(workflow_id="order-1", workflow_type=for_ever.name, input=b"[]", message_id="m")
        publisher.send(Record(topics.commands, 0, b"order-1", encode(start)))
        publisher.flush(WAIT_S)
        (first,) = until_lines(1)
        enough.set()
        _, last = until_lines(2)
        processor.stop(WAIT_S)
    log.close()
    assert (first["workflow_type"], first["workflow_id"]) == (last["workflow_type"], last["workflow_id"])
    assert first["workflow_id"] == "order-1"
    assert "in for_ever" in first["at"]


@workflow(name="watch-never-returns")
async def never_returns() -> None:
    while True:
        for moment in scene.moments:
            scene.watch.look(moment)


@workflow(name="watch-catches-all")
async def catches_all() -> str:
    caught = 0
    while caught < 3:
        try:
            while True:
                for moment in scene.moments:
                    scene.watch.look(moment)
        except Exception:  # an interruption is none
            caught += 1
    return "caught"


@pytest.mark.parametrize("flow", [never_returns, catches_all])
def test_code_past_its_deadline_is_interrupted(flow):
    """An activation that runs past its deadline is interrupted: its run is BLOCKED, and a neighbour goes on."""
    scene.watch = Watch(threading.get_ident(), 5.0, 30.0, kill=lambda reason: None)
    scene.moments = [100, 106, 131]
    stage = Stage(flow, crunches)
    stage.start(flow, id="order-1")
    assert stage.described("order-1")["blocked_reason"] == "runs_on"
    assert "ran for 31 s without a wait" in stage.described("order-1")["blocked_message"]
    scene.moments = []
    stage.start(crunches, id="order-2")
    assert stage.described("order-2")["status"] == "completed"


def test_code_that_cannot_be_interrupted_ends_the_process():
    """Code that goes on after its interruption ends the process, with a reason that names the run."""
    reasons = []
    scene.watch = Watch(threading.get_ident(), 5.0, 30.0, kill=reasons.append)
    scene.moments = [100, 106, 151]
    Stage(never_returns).start(never_returns, id="order-1")
    assert "order-1" in reasons[0]


def test_a_processor_interrupts_code_that_never_returns():
    """In a running processor, a run that spins is BLOCKED after the deadline, and what came with it is decided."""
    topics = Topics("spinning")
    log = EmbeddedLog(MEMORY)
    admin.apply(log, admin.plan(log, specs(topics, 1, ["default"])))
    scene.moments, scene.watch = [1], SimpleNamespace(look=lambda moment: None)
    settings = DriverSettings(activation_deadline_s=0.3, slow_activation_s=0.2)
    hosted = Hosted({flow.name: flow for flow in (never_returns, crunches)})
    processor = Processor(log, topics, 1, hosted, settings=settings)
    publisher = log.publisher()
    for id, flow in (("spins", never_returns), ("neighbour", crunches)):
        start = StartWorkflow(workflow_id=id, workflow_type=flow.name, input=b"[]", message_id=f"m-{id}")
        publisher.send(Record(topics.commands, 0, id.encode(), encode(start)))
    publisher.flush(WAIT_S)
    processor.start()
    deadline = time.monotonic() + WAIT_S
    while not any(log.read_to_end(topics.completions, 0, 0, WAIT_S)):
        assert time.monotonic() < deadline, f"waited {WAIT_S} s for the neighbour to complete"
        time.sleep(0.05)
    found = reads.describe(processor.stores()[0], "spins")
    processor.stop(WAIT_S)
    log.close()
    assert found["blocked_reason"] == "runs_on"
