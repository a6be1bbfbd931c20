"""Does workflow code get what the public face promises? On real shards, with time that stands still."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.engine.authoring.workflow import workflow
from penstock.engine.execution import loop
from penstock.schemas.encoding.codec import encode
from penstock.schemas.failure import Failure
from penstock.schemas.records.run import CancelWorkflow, RetryWorkflow, StartWorkflow, TerminateWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.values.failure import failure_of
from tests.engine.core import flows
from tests.engine.stage import Stage


def test_activities_in_sequence() -> None:
    """Five activities one after the other give the sum, each scheduled once."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11
    assert stage.events().count("ActivityScheduled") == 5


def test_activities_in_parallel_answered_in_any_order() -> None:
    """`gather` keeps the order of its calls, whatever the order of the answers."""
    stage = Stage(flows.fan)
    stage.start(flows.fan, 20)
    tasks = stage.take("tasks")
    for task in reversed(tasks):
        stage.complete(task, task.sequence * 10)
    assert stage.described()["result"] == [10 * (i + 1) for i in range(20)]


def test_task_group() -> None:
    """`TaskGroup` works as in asyncio."""
    stage = Stage(flows.grouped)
    stage.start(flows.grouped, 5)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 20


@pytest.mark.parametrize("flow", [flows.five, flows.fan, flows.grouped])
def test_every_step_survives_eviction(flow: Any) -> None:
    """A run whose code is forgotten after every decision ends with the same history."""
    histories = []
    for evicts in (False, True):
        stage = Stage(flow)
        stage.start(flow, 4, message_id="same")
        while tasks := stage.take("tasks"):
            for task in tasks:
                if evicts:
                    stage.nodes[0].runs.clear()
                stage.complete(task, task.sequence)
        histories.append(stage.history())
    assert histories[0] == histories[1]


def test_sleep_lasts_as_long_as_it_says() -> None:
    """A durable sleep ends at its moment, not before, across a restart."""
    stage = Stage(flows.sleeper)
    stage.start(flows.sleeper, 3600)
    stage.advance(3599)
    assert stage.described()["status"] == "running"
    stage.restart()
    stage.advance(1)
    assert stage.described()["result"] == "3600.0"


def test_retries_with_backoff_then_success() -> None:
    """A failed attempt is tried again after its delay, with the next attempt number."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    (task,) = stage.take("tasks")
    stage.fail(task, failure_of(flows.Refused("no")))
    stage.advance(0.999)
    assert stage.take("tasks") == []
    stage.advance(0.001)
    (again,) = stage.take("tasks")
    assert again.attempt == 2
    stage.complete(again, 7)
    assert stage.described()["result"] == "7"


def test_retries_end() -> None:
    """retries=2 means three attempts; the error then names its type and count."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    for _ in range(3):
        (task,) = stage.take("tasks")
        stage.fail(task, failure_of(flows.Refused("no")))
        stage.advance(10)
    assert stage.described()["result"] == "Refused after 3"


def test_non_retryable_fails_at_once() -> None:
    """A failure that the worker calls non-retryable is not tried again."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    (task,) = stage.take("tasks")
    stage.fail(task, Failure(type="app.Refused", message="no", non_retryable=True))
    assert stage.described()["result"] == "Refused after 1"


def test_late_result_of_an_earlier_attempt_is_ignored() -> None:
    """A result counts for the present attempt only."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    (task,) = stage.take("tasks")
    stage.fail(task, failure_of(flows.Refused("no")))
    stage.advance(1)
    (again,) = stage.take("tasks")
    stage.complete(task, 1)
    assert stage.described()["status"] == "running"
    stage.complete(again, 2)
    stage.complete(again, 3)
    assert stage.described()["result"] == "2"


def test_workflow_failure_is_readable() -> None:
    """WorkflowFailed's text is the run's failure."""
    stage = Stage(flows.failing)
    stage.start(flows.failing, 3)
    described = stage.described()
    assert (described["status"], described["failure"]["message"]) == ("failed", "rejected 3")


def test_an_ordinary_exception_fails_the_run() -> None:
    """A bug in workflow code fails its run with type, text and traceback."""
    stage = Stage(flows.broken)
    stage.start(flows.broken, 3)
    failure = stage.described()["failure"]
    assert failure["type"] == "KeyError" and "flows.py" in failure["traceback"]


def test_saga_undoes_in_reverse() -> None:
    """A cancelled saga undoes what was begun, the youngest first, and the run ends cancelled."""
    stage = Stage(flows.travel)
    undone: list[str] = []
    stage.start(flows.travel, ["hotel", "car", "flight"])
    stage.run(book_place=lambda value: value)
    stage.tell(CancelWorkflow(workflow_id="run-1", reason="ill", message_id="m"))
    stage.run(unbook_place=undone.append)
    assert undone == ["flight", "car", "hotel"]
    assert stage.described()["status"] == "cancelled"


def test_saga_waits_for_nothing_outstanding_and_undoes_failures_too() -> None:
    """When one of several parallel steps fails, the others are given up and all that was scheduled is undone."""
    stage = Stage(flows.travel_together)
    stage.start(flows.travel_together, ["a", "b", "c"])
    first, second, _ = stage.take("tasks")
    stage.complete(first, "a")
    stage.fail(second, Failure(type="app.Full", message="full", non_retryable=True))
    assert stage.events().count("ActivityCancelled") == 1
    undone: list[str] = []
    stage.run(unbook_place=undone.append)
    assert undone == ["c", "b", "a"]
    assert stage.described()["status"] == "failed"


def test_saga_is_undone_though_cancelled_again() -> None:
    """A second request to cancel does not interrupt undoing."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, ["hotel", "car"])
    stage.run(book_place=lambda value: value)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m1"))
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m2"))
    undone: list[str] = []
    stage.run(unbook_place=undone.append)
    assert undone == ["car", "hotel"]


def test_terminate_undoes_nothing() -> None:
    """A terminated run ends at once; its late results are ignored."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, ["hotel"])
    (task,) = stage.take("tasks")
    stage.tell(TerminateWorkflow(workflow_id="run-1", reason="over", message_id="m"))
    stage.complete(task, "hotel")
    described = stage.described()
    assert (described["status"], described["reason"], described["pending_activities"]) == ("terminated", "over", [])
    assert stage.take("tasks") == []


def test_cancel_runs_cleaning_code() -> None:
    """`finally` blocks run when a run is cancelled."""
    stage = Stage(flows.cleaner)
    stage.start(flows.cleaner)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
    cleaned: list[str] = []
    stage.run(unbook_place=cleaned.append)
    assert cleaned == ["room"] and stage.described()["status"] == "cancelled"


def test_eviction_runs_no_cleaning_code() -> None:
    """A forgotten run's `finally` blocks order nothing, and the run goes on as if nothing had been."""
    stage = Stage(flows.cleaner)
    stage.start(flows.cleaner)
    stage.nodes[0].runs.clear()
    assert stage.take("tasks") == []
    stage.signal("go")
    assert len(stage.take("tasks")) == 1


@pytest.mark.parametrize("child_id", ["a", "b", "c", "d"])
def test_child_on_another_shard(child_id: str) -> None:
    """A child runs on its own id's shard and its result comes back."""
    stage = Stage(flows.parent, flows.five, shards=3)
    stage.start(flows.parent, child_id)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == "child said 11"


def test_child_that_cannot_start() -> None:
    """A parent hears in words that its child's id is taken."""
    stage = Stage(flows.parent, flows.five, flows.approved, shards=3)
    stage.start(flows.approved, id="taken")
    stage.start(flows.parent, "taken")
    assert "taken is taken by another run" in stage.described()["result"]


def test_terminating_a_parent_ends_its_children() -> None:
    """Children of a terminated run are terminated with it."""
    stage = Stage(flows.parent, flows.five, shards=3)
    stage.start(flows.parent, "kid")
    stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="m"))
    assert stage.described("kid")["status"] == "terminated"


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("definition", "book_place is none yet; call it: book_place(…)."),
        ("undo", "unbook_place is none yet; call it: unbook_place(…)."),
        ("nothing", "saga.do takes a call such as reserve(…), not None."),
        ("not entered", "use it inside `async with Saga() as saga:`"),
    ],
)
def test_a_saga_that_is_used_wrongly(what: str, says: str) -> None:
    """What a saga cannot do or undo is told at once, before anything is ordered."""
    stage = Stage(flows.mistakes_a_saga)
    stage.start(flows.mistakes_a_saga, what)
    assert says in stage.described()["failure"]["message"]
    assert "ActivityScheduled" not in stage.events()


def test_wait_condition() -> None:
    """A condition is asked again whenever the run advanced."""
    stage = Stage(flows.conditional)
    stage.start(flows.conditional)
    stage.signal("price", 4)
    assert stage.described()["status"] == "running"
    stage.signal("price", 6)
    assert stage.described()["result"] == 10


def test_chance_repeats_on_replay() -> None:
    """random(), uuid4() and side_effect() give the same on replay."""
    results = []
    for evicts in (False, True):
        stage = Stage(flows.chancy)
        stage.start(flows.chancy, message_id="same")
        if evicts:
            stage.nodes[0].runs.clear()
        stage.signal("go")
        results.append(stage.described()["result"])
    assert results[0] == results[1] and results[0][2] == 42


def test_first_completed_gives_up_the_others() -> None:
    """`asyncio.wait` iterates alike on replay, and cancelled calls are given up."""
    stage = Stage(flows.first_of)
    stage.start(flows.first_of, 30)
    tasks = stage.take("tasks")
    stage.nodes[0].runs.clear()
    stage.complete(tasks[17], 17)
    assert stage.described()["result"] == 17
    assert stage.events().count("ActivityCancelled") == 29


def test_signal_to_another_run() -> None:
    """A run can signal another, on whichever shard."""
    stage = Stage(flows.teller, flows.approved, shards=3)
    stage.start(flows.approved, id="other")
    stage.start(flows.teller, "other")
    assert stage.described("other")["result"] == "paid 7"


def test_same_id_is_one_run() -> None:
    """A second start of an id joins the run that is there and says so."""
    stage = Stage(flows.approved)
    first = stage.start(flows.approved, reply_to=0)
    stage.start(flows.approved, reply_to=0)
    one, two = stage.take("replies")
    assert (one.existing, two.existing, two.run_id) == (False, True, first)
    assert stage.events().count("WorkflowStarted") == 1


def test_same_message_twice_acts_once() -> None:
    """A signal with the same message id is applied once."""
    stage = Stage(flows.conditional)
    stage.start(flows.conditional)
    signal = SignalWorkflow(workflow_id="run-1", signal="price", input=b"4", message_id="once")
    stage.tell(signal)
    stage.tell(signal)
    assert stage.events().count("SignalReceived") == 1


def test_restart_of_a_closed_id() -> None:
    """`restart_closed` begins another run under the id; a late copy of the first start does not."""
    stage = Stage(flows.failing)
    first = stage.start(flows.failing, 1)
    second = stage.start(flows.failing, 2, on_existing="restart_closed")
    stage.start(flows.failing, 1, on_existing="restart_closed", message_id=first)
    assert stage.described()["run_id"] == second
    assert [len(stage.history(run_id=run)) for run in (first, second)] == [2, 2]


def test_unknown_type_and_bad_input_are_told_or_kept() -> None:
    """What cannot start is told to who asked, else kept in dead-letters; nothing starts."""
    stage = Stage(flows.five)
    stage.tell(StartWorkflow(workflow_id="x", workflow_type="sixth", message_id="m1"))
    stage.tell(StartWorkflow(workflow_id="x", workflow_type="five", input=b'"no"', message_id="m2", reply_to=0))
    assert [letter.reason for letter in stage.take("dead-letters")] == ["unknown_type"]
    assert [reply.reason for reply in stage.take("replies")] == ["bad_input"]


def test_missing_topic_blocks_one_run_until_it_is_made() -> None:
    """A queue without a topic parks the run with the remedy; it goes on by itself when the topic is there."""
    stage = Stage(flows.far_away, flows.five)
    stage.start(flows.far_away, 5)
    assert stage.described()["status"] == "blocked"
    assert "penstock topics apply" in stage.described()["blocked_message"]
    stage.start(flows.five, 1, id="neighbour")
    stage.run(add=lambda a, b: a + b)
    assert stage.described("neighbour")["status"] == "completed"
    stage.queues.add("elsewhere")
    for node in stage.nodes:
        node.blocked.try_again("missing_topic")
    stage.tick()
    stage.run(far=lambda value: value * 2)
    assert stage.described()["result"] == 10


def test_changed_code_blocks_and_the_old_code_frees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that orders otherwise parks its run with the difference; the facts wait and reach the mended code."""

    async def other(n: int) -> int:
        return await flows.shaky(n)

    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    (task,) = stage.take("tasks")
    good = flows.five.fn
    monkeypatch.setattr(flows.five, "fn", other)
    stage.restart()
    stage.complete(task, 1)
    described = stage.described()
    assert described["blocked_reason"] == "non_determinism" and "shaky" in described["blocked_message"]
    monkeypatch.setattr(flows.five, "fn", good)
    stage.tell(RetryWorkflow(workflow_id="run-1", message_id="m"))
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11


def test_restart_frees_a_blocked_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that starts with mended code tries parked runs by itself."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    (task,) = stage.take("tasks")
    stage.definitions.clear()
    stage.nodes[0].runs.clear()
    stage.complete(task, 1)
    assert stage.described()["blocked_reason"] == "unknown_type"
    stage.restart(flows.five)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11


def test_patched_keeps_old_runs_on_their_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """`patched` answers no for what an older run already passed, yes for runs that come to it first."""
    stage = Stage(flows.patchy)
    stage.start(flows.patchy)
    stage.signal("go")
    assert stage.described()["result"] == "new"
    assert "PatchMarked" in stage.events()


def test_ten_thousand_pending_stay_small() -> None:
    """Rows, not one growing blob: what one of many answers writes does not grow with the others."""
    stage = Stage(flows.fan)
    stage.start(flows.fan, 3_000)
    tasks = stage.take("tasks")
    stage.put("results", 0, encode(tasks[5].completed(b"1")))
    record = stage._inbox.pop()
    layer = stage.nodes[0].decide([record], stage.now_ms)
    assert layer is not None and sum(len(value or b"") for value in layer.writes.values()) < 2_000


def test_awaiting_a_workflow_outside_says_what_to_do() -> None:
    """A workflow awaited by hand names client.start."""

    async def wrong() -> None:
        await flows.five(1)

    with pytest.raises(Exception, match=r"client\.start"):
        asyncio.run(wrong())


def test_a_plain_function_is_no_workflow() -> None:
    """@workflow on a function that is not async is told at once."""
    with pytest.raises(Exception, match="async def"):
        workflow(lambda: None)  # type: ignore[call-overload]


def test_a_loop_without_an_end_fails_its_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that never waits is stopped after a bounded number of steps, and its neighbours go on."""
    monkeypatch.setattr(loop, "STEPS_MAX", 1_000)
    stage = Stage(flows.endless, flows.failing)
    stage.start(flows.endless)
    assert stage.described()["failure"]["type"].endswith("EndlessWorkflow")
    stage.start(flows.failing, 1, id="neighbour")
    assert stage.described("neighbour")["status"] == "failed"
