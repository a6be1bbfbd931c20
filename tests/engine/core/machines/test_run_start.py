"""Tests of what a start records and hands on: seed, headers, build, and the run that it replaces."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from penstock.engine.authoring.context import info, random
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.limits import HEADERS_BYTES_MAX
from penstock.engine.core.machine import seed_of
from penstock.schemas.encoding.codec import encode
from penstock.schemas.failure import Failure
from penstock.schemas.records.activity import ActivityRetried
from penstock.schemas.records.run import AwaitResult, StartWorkflow, WorkflowStarted
from penstock.workers.activity.decorator import activity
from tests.engine.core import flows
from tests.engine.core.counters import Counter
from tests.engine.stage import START_MS, Stage

wait = Signal("wait")
HEADERS = {"tenant": "acme", "trace": "00-ab"}


@activity(retries=1, backoff=["1s"])
def work(n: int) -> int: ...


@workflow
async def leaf() -> dict[str, str]:
    await work(1)
    return info().headers


@workflow
async def root() -> dict[str, str]:
    await asyncio.gather(work(1), work(2))
    return await leaf().options(id="leaf")


@workflow
async def held() -> str:
    await wait.wait(timeout="1h")
    return "went on"


@workflow
async def chance() -> float:
    return random().random()


def started(stage: Stage, id: str = "run-1") -> dict[str, Any]:
    return stage.history(id)[0]


def replace(stage: Stage, message_id: str, **fields: Any) -> None:
    stage.tell(
        StartWorkflow(
            workflow_id="run-1",
            workflow_type="held",
            input=b"null",
            on_existing="terminate_existing",
            message_id=message_id,
            **fields,
        )
    )


def test_headers_reach_activities_and_children() -> None:
    """The headers of a start are those of its run, of every attempt, of its children and of their activities."""
    stage = Stage(root, leaf)
    stage.start(root, headers=HEADERS)
    tasks = stage.take("tasks")
    stage.fail(tasks[0], Failure(type="app.Busy", message="busy"))
    stage.complete(tasks[1], 2)
    stage.advance(1)
    (retried,) = stage.take("tasks")
    assert retried.attempt == 2
    stage.complete(retried, 1)
    (start,) = stage.take("commands")
    (leaf_task,) = stage.take("tasks")
    assert [task.headers for task in (*tasks, retried, leaf_task)] == [HEADERS] * 4
    assert start.headers == HEADERS
    stage.complete(leaf_task, 1)
    assert stage.described()["result"] == HEADERS


def test_headers_survive_the_loss_of_memory() -> None:
    """A retried task has its run's headers although the run was evicted meanwhile."""
    stage = Stage(leaf)
    stage.start(leaf, headers=HEADERS)
    (task,) = stage.take("tasks")
    stage.fail(task, Failure(type="app.Busy", message="busy"))
    stage.restart()
    stage.advance(1)
    assert [task.headers for task in stage.take("tasks")] == [HEADERS]
    assert ActivityRetried.__name__ in stage.events()


def test_headers_are_bounded() -> None:
    """A start with more headers than a run can carry in each decision is refused with both sizes."""
    stage = Stage(held)
    stage.start(held, headers={"x": "y" * HEADERS_BYTES_MAX}, reply_to=0)
    (reply,) = stage.take("replies")
    assert reply.reason == "bad_input"
    assert "8,193 bytes" in reply.message
    assert "8,192" in reply.message


def test_two_ids_started_by_one_message_have_different_seeds() -> None:
    """Foreign producers may give two workflows one message id; their random numbers and idempotency keys differ."""
    stage = Stage(chance, leaf)
    for id in ("a", "b"):
        stage.start(chance, id=id, message_id="same")
        stage.start(leaf, id=f"leaf-{id}", message_id="same")
    assert started(stage, "a")["seed"] != started(stage, "b")["seed"]
    assert stage.described("a")["result"] != stage.described("b")["result"]
    keys = [task.idempotency_key for task in stage.take("tasks")]
    assert keys == [f"leaf-{id}/{seed_of(f'leaf-{id}', 'same')}/1" for id in ("a", "b")]


def test_the_seed_is_the_run_s_for_ever() -> None:
    """Seed and idempotency key stay the same for every attempt and after a replay."""
    stage = Stage(leaf)
    stage.start(leaf)
    (task,) = stage.take("tasks")
    stage.fail(task, Failure(type="app.Busy", message="busy"))
    stage.restart()
    stage.advance(1)
    (again,) = stage.take("tasks")
    assert again.seed == task.seed == started(stage)["seed"]
    assert again.idempotency_key == task.idempotency_key


def test_a_start_records_build_timeouts_and_retry() -> None:
    """What later features need is in the first event: the hosting build, the bounds and the policy of the start."""
    stage = Stage(held)
    stage.nodes[0].runs.hosted = Hosted(stage.definitions, build="2026-11-26")
    stage.start(held, run_timeout_ms=5, execution_timeout_ms=7)
    first = started(stage)
    assert (first["build"], first["run_timeout_ms"], first["execution_timeout_ms"]) == ("2026-11-26", 5, 7)
    assert (first["first_run_id"], first["previous_run_id"], first["retry"]) == ("", "", None)


# A start that replaces a run.


def test_a_start_may_terminate_the_open_run() -> None:
    """One decision closes the open run and starts the next one, both in their own histories."""
    stage = Stage(held)
    first = stage.start(held)
    stage.take("events")
    replace(stage, "second", reply_to=0)
    decisions = stage.take("events")
    assert len({decision.decision for decision in decisions}) == 1
    assert [decision.run_id for decision in decisions] == [first, "second"]
    assert [event["event"] for event in stage.history(run_id=first)][-1] == "WorkflowTerminated"
    assert stage.events() == ["WorkflowStarted", "TimerStarted"]
    assert stage.described()["run_id"] == "second"
    (reply,) = stage.take("replies")
    assert (reply.run_id, reply.existing) == ("second", False)


def test_the_replaced_run_reports_its_end() -> None:
    """A caller that awaits the replaced run is answered, and its completion is recorded."""
    stage = Stage(held)
    first = stage.start(held)
    stage.tell(AwaitResult(workflow_id="run-1", message_id="await", reply_to=0))
    replace(stage, "second")
    (closed,) = stage.take("replies")
    assert (closed.message_id, closed.run_id, closed.status) == ("await", first, "terminated")
    assert "second" in closed.failure.message
    (completion,) = stage.take("completions")
    assert (completion.run_id, completion.status) == (first, "terminated")


def test_the_replaced_run_leaves_no_timer() -> None:
    """The old run's timer does not fire into the new run, whose own timer fires at its time."""
    stage = Stage(held)
    stage.start(held)
    stage.advance(1800)
    replace(stage, "second")
    stage.advance(1801)
    assert stage.described()["status"] == "running"
    stage.advance(1799)
    assert stage.events()[-1] == "WorkflowFailed"
    assert stage.now_ms == START_MS + 5_400_000


@pytest.mark.parametrize("message_id", ["second", "third"])
def test_a_repeated_replacing_start_has_no_effect(message_id: str) -> None:
    """A start that replaced a run does so once, also after its own run was replaced."""
    stage = Stage(held)
    stage.start(held)
    for id in ("second", message_id):
        replace(stage, id)
    stage.take("events")
    for id in ("second", message_id):
        replace(stage, id, reply_to=0)
    assert {reply.run_id for reply in stage.take("replies")} == {"second", message_id}
    assert stage.described()["run_id"] == message_id
    assert all(decision.first_sequence == 0 for decision in stage.take("events"))


def test_a_closed_run_is_replaced_without_being_terminated() -> None:
    """`terminate_existing` starts anew over a closed run, whose end stays what it was."""
    stage = Stage(held)
    first = stage.start(held)
    stage.signal("wait")
    replace(stage, "second")
    assert [event["event"] for event in stage.history(run_id=first)][-1] == "WorkflowCompleted"
    assert stage.described()["run_id"] == "second"


def test_a_replacing_start_that_is_refused_leaves_the_run() -> None:
    """An input that the workflow cannot take terminates nothing."""
    stage = Stage(held)
    first = stage.start(held)
    stage.tell(
        StartWorkflow(
            workflow_id="run-1",
            workflow_type="unknown",
            on_existing="terminate_existing",
            message_id="second",
            reply_to=0,
        )
    )
    assert [reply.reason for reply in stage.take("replies")] == ["unknown_type"]
    assert (stage.described()["run_id"], stage.described()["status"]) == (first, "running")


def test_started_is_the_first_event() -> None:
    """A history begins with WorkflowStarted."""
    stage = Stage(held)
    stage.start(held)
    assert stage.events()[0] == WorkflowStarted.__name__


# A start of an id that is taken.


@workflow(name="start-of-two")
async def of_two(name: str, copies: int = 1) -> str:
    return await held_note.wait()


@workflow(name="start-other-type")
async def other_type() -> None: ...


held_note = Signal("start-note", str)


def joining(stage: Stage, input: bytes, **fields: Any) -> Any:
    """The reply to a second start of the id."""
    fields.setdefault("workflow_type", "start-of-two")
    stage.tell(StartWorkflow(workflow_id="run-1", input=input, message_id=stage.message_id(), reply_to=0, **fields))
    (reply,) = stage.take("replies")
    return reply


@pytest.mark.parametrize("on_existing", ["use_existing", "restart_closed", "reject"])
@pytest.mark.parametrize("closed", [False, True])
def test_a_run_of_another_type_is_never_joined(closed: bool, on_existing: str) -> None:
    """A start of an id that a run of another type has is refused, and names both types."""
    if closed and on_existing == "restart_closed":
        return  # it begins a run of its own
    stage = Stage(of_two, other_type)
    stage.start(of_two, "a")
    if closed:
        stage.signal("start-note", "b")
    reply = joining(stage, b"null", workflow_type="start-other-type", on_existing=on_existing)
    assert reply.reason == "already_exists"
    assert "taken by a run of start-of-two" in reply.message and "start-other-type cannot be started" in reply.message


@pytest.mark.parametrize("on_existing", ["use_existing", "restart_closed"])
def test_a_run_with_another_input_is_joined_with_a_note(on_existing: str) -> None:
    """A start that joins a run with another input is told so."""
    stage = Stage(of_two)
    stage.start(of_two, "a")
    reply = joining(stage, b'{"name":"b"}', on_existing=on_existing)
    assert (reply.existing, reply.note) == (True, "the run that was joined has another input than this start")


@pytest.mark.parametrize("same", [b'{"copies":1,"name":"a"}', b'{"name": "a"}', b'["a",1]', b'["a"]'])
def test_the_same_input_written_otherwise_is_no_other(same: bytes) -> None:
    """An input in another order, by position, or without its defaults is the same."""
    stage = Stage(of_two)
    stage.start(of_two, "a")
    assert joining(stage, same).note == ""


def test_a_run_that_started_without_an_input_is_joined() -> None:
    """An empty input is null; an input that the type cannot take is another one."""
    stage = Stage(other_type)
    stage.tell(StartWorkflow(workflow_id="run-1", workflow_type="start-other-type", message_id="first"))
    notes = [joining(stage, input, workflow_type="start-other-type").note for input in (b"", b"null", b"5")]
    assert [bool(note) for note in notes] == [False, False, True]


def _start(**fields: Any) -> StartWorkflow:
    fields = {"workflow_id": "run-1", "workflow_type": "approved", "input": b"null", "message_id": "s", **fields}
    return StartWorkflow(**fields)


def test_execute_is_answered_with_the_end() -> None:
    """A start that awaits the result has one answer: the run's end; a repetition of it too, also after the end."""
    stage = Stage(flows.approved)
    assert stage.replied(_start(await_result=True)) is None
    assert stage.replied(_start(await_result=True)) is None
    stage.signal("price", 4)
    assert [(reply.status, reply.result) for reply in stage.take("replies")] == [("completed", b'"paid 4"')]
    assert stage.replied(_start(await_result=True)).result == b'"paid 4"'
    assert stage.events().count("WorkflowStarted") == 1


def test_execute_of_a_taken_id_joins_its_run() -> None:
    """It awaits the run that it joins, open or closed."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    assert stage.replied(_start(await_result=True)) is None
    stage.signal("price", 4)
    assert [reply.message_id for reply in stage.take("replies")] == ["s"]
    assert stage.replied(_start(await_result=True, message_id="late")).result == b'"paid 4"'


def test_a_signal_with_start() -> None:
    """It starts the run, whose code receives the signal before it goes on; an open run is signalled alone."""
    stage = Stage(flows.looks_again)
    handed = {"workflow_type": "looks_again", "signal": "price", "on_existing": "restart_closed"}
    reply = stage.replied(_start(handed=b"1", **handed))
    assert (reply.existing, stage.described()["result"]) == (False, 1)
    stage = Stage(flows.conditional)
    handed["workflow_type"] = "conditional"
    for number, message_id in enumerate(("a", "b", "b", "c")):
        stage.replied(_start(handed=b"3", message_id=message_id, **handed))
        assert stage.events().count("SignalReceived") == (1, 2, 2, 3)[number]
    assert stage.events().count("WorkflowStarted") == 1


def test_a_signal_with_start_of_a_closed_run() -> None:
    """`restart_closed` starts another run; any other refuses the signal instead of dropping it."""
    stage = Stage(flows.looks_again)
    stage.start(flows.looks_again)
    stage.signal("price", 1)
    handed = {"workflow_type": "looks_again", "signal": "price", "handed": b"2"}
    assert stage.replied(_start(message_id="x", **handed)).reason == "already_closed"
    assert stage.replied(_start(message_id="y", on_existing="restart_closed", **handed)).existing is False
    assert stage.described()["result"] == 2


def test_a_signal_with_start_that_does_not_fit_starts_nothing() -> None:
    """A value that the declared signal does not take refuses both, for a run that exists too."""
    stage = Stage(flows.approved)
    for _ in range(2):
        refused = stage.replied(_start(signal="price", handed=b'"much"', on_existing="restart_closed"))
        assert refused.reason == "bad_input"
    assert not [record for record in stage.take("events") if record.first_sequence]


def test_a_signal_with_start_of_a_type_hosted_elsewhere_is_kept() -> None:
    """A run that waits for a processor with its type has the signal in its history."""
    stage = Stage()
    stage.nodes[0].runs.hosted.note_others({"approved": 1}, 1)
    stage.replied(_start(signal="price", handed=b"4"))
    assert stage.events() == ["WorkflowStarted", "SignalReceived", "WorkflowBlocked"]
    stage.restart(flows.approved)
    stage.tick()
    assert stage.described()["result"] == "paid 4"


def _update_with_start(**fields: Any) -> StartWorkflow:
    fields = {"on_existing": "restart_closed", "await_result": True, "message_id": "u", **fields}
    return _start(workflow_type="counters-counter", input=b'{"number":1}', update="set_to", handed=b"7", **fields)


@pytest.mark.parametrize("on_existing", ["use_existing", "restart_closed", "reject"])
def test_a_repeated_update_with_start(on_existing: str) -> None:
    """The same command again, under `reject` and after the end too, starts nothing and has the same outcome."""
    stage = Stage(Counter)
    command = _update_with_start(on_existing=on_existing)
    first = stage.replied(command)
    assert first.result == b"1"
    stage.restart()
    assert stage.replied(command) == first
    stage.signal("close")
    assert stage.replied(command) == first
    assert stage.described()["result"] == 7
    assert stage.events().count("UpdateAccepted") == 1


def test_an_update_with_start_updates_an_open_run() -> None:
    """A run that is open is updated alone; under `reject` neither happens."""
    stage = Stage(Counter)
    stage.start(Counter, 5)
    assert stage.replied(_update_with_start()).result == b"5"
    assert stage.replied(_update_with_start(on_existing="reject", message_id="v")).reason == "already_exists"
    assert stage.query("get").result == b"7"


def test_an_update_with_start_that_is_rejected() -> None:
    """The update is judged by the run that was started, which goes on; the sender gets the rejection alone."""
    stage = Stage(Counter)
    command = msgspec.structs.replace(_update_with_start(), handed=b"13")
    assert stage.replied(command).message == "not 13"
    assert stage.described()["status"] == "running"
    assert stage.replied(command).message == "not 13"
    assert stage.events() == ["WorkflowStarted"]


def test_concurrent_starts_of_one_id_run_its_code_once() -> None:
    """Many starts of one id in a batch begin one run; one of another type does not change it."""
    stage = Stage(flows.five, flows.approved)
    for number in range(50):
        kind, given = ("five", b'{"n":1}') if number else ("approved", b"null")
        stage.put("commands", 0, encode(_start(workflow_type=kind, input=given, message_id=f"m{number}", reply_to=0)))
    stage.settle()
    assert stage.described()["type"] == "approved"
    assert stage.take("tasks") == []
    assert [getattr(reply, "reason", "accepted") for reply in stage.take("replies")] == ["accepted"] + [
        "already_exists"
    ] * 49
