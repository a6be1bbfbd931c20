"""Tests of resets: where a run is cut, what goes over to the run that goes on, and what is received again."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import msgspec
import pytest

from penstock.engine.authoring.children import start_child
from penstock.engine.authoring.context import info, uuid4
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.patterns.saga import Saga
from penstock.schemas.encoding.codec import encode
from penstock.schemas.failure import Failure
from penstock.schemas.records.pause import PauseWorkflow, ResumeWorkflow
from penstock.schemas.records.reset import ResetWorkflow
from penstock.schemas.records.run import AwaitResult, CancelWorkflow
from penstock.schemas.records.tasks import TaskHeartbeat, TaskStarted
from penstock.workers.activity.decorator import activity
from tests.engine.core import counters, flows
from tests.engine.stage import Stage

SOFT = Failure(type="app.Refused", message="no")

word = Signal("reset-word")
EXTRAS = 15


@activity
def pay(what: str) -> str:
    return what


@activity
def take_back(what: str) -> str:
    return what


@workflow
async def paying_child(what: str) -> str:
    return await pay(f"child {what}")


@workflow
async def long_trip() -> list[str]:
    """Signals, children, timers, parallel steps and a saga, in some 30 decisions."""
    done = [await pay("deposit")]
    async with Saga() as saga:
        for place in ("hotel", "train"):
            done.append(await saga.do(pay(place), undo=take_back(place)))
            done.append(await word.wait())
        async with asyncio.timeout(3600):
            done.append(await word.wait())
        await sleep("1h")
        done += await asyncio.gather(pay("left"), pay("right"), paying_child("one"))
        kid = await start_child(paying_child("two"))
        done.append(await word.wait())
        done.append(await kid.result())
        for number in range(EXTRAS):
            done.append(await pay(f"extra {number}"))
    done.append(await pay("end"))
    return done


class Payments:
    """A payment provider that pays each idempotency key once, as workers call it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.paid: dict[str, str] = {}

    def run(self, stage: Stage) -> None:
        while tasks := stage.take("tasks"):
            for task in tasks:
                self.calls.append(task.idempotency_key)
                what = self.paid.setdefault(task.idempotency_key, msgspec.json.decode(task.input))
                assert what == msgspec.json.decode(task.input), "one key, one payment"
                stage.complete(task, what)


def reset(stage: Stage, to_event: int, **fields: Any) -> Any:
    return stage.replied(ResetWorkflow(workflow_id="run-1", to_event=to_event, message_id=stage.message_id(), **fields))


def ends_of(stage: Stage) -> list[int]:
    """Numbers of the last events of all decisions of the current run."""
    run = stage.nodes[0].runs.get("run-1")
    return [decision.last for decision in run.past(run.run_id)]


WORDS = ["a", "b", "c", "d"]
TRIP = [
    "deposit", "hotel", "a", "train", "b", "c", "left", "right", "child one", "d", "child two",
    *(f"extra {number}" for number in range(EXTRAS)), "end",
]  # fmt: skip


def travelled(payments: Payments) -> Stage:
    """A stage on which a trip has ended."""
    stage = Stage(long_trip, paying_child, strict_inputs=True)
    stage.start(long_trip)
    payments.run(stage)
    for given in WORDS[:3]:
        stage.signal("reset-word", given)
        payments.run(stage)
    stage.advance(3600)
    payments.run(stage)
    stage.signal("reset-word", WORDS[3])
    payments.run(stage)
    assert stage.described()["result"] == TRIP
    return stage


def finish(stage: Stage, payments: Payments, words: Any = iter(())) -> None:
    """Let everything happen that the run waits for, until it has ended."""
    payments.run(stage)
    while (run := stage.described())["status"] == "running":
        if run["signals_awaited"]:
            stage.signal("reset-word", next(words))
        else:
            stage.advance(3600)
        payments.run(stage)


def test_a_trip_has_thirty_decisions() -> None:
    """The history that is reset at each decision is long enough to matter."""
    assert len(ends_of(travelled(Payments()))) == 30


@pytest.mark.parametrize("index", range(-1, 29))
def test_a_run_that_has_ended_goes_on_from_each_decision(index: int) -> None:
    """From each decision of a history with signals, children and a saga the run ends right, and what was paid before
    the cut is not paid again."""
    payments = Payments()
    stage = travelled(payments)
    ends = ends_of(stage)
    cut = ends[index] if index >= 0 else 0
    before = {
        event["sequence"]: event["input"] for event in stage.history()[:cut] if event["event"] == "ActivityScheduled"
    }
    calls = len(payments.calls)
    assert type(reset(stage, cut, reason="again", by="ann")).__name__ == "Accepted"
    stage.restart()
    finish(stage, payments)
    run = stage.described()
    assert (run["status"], run["result"]) == ("completed", TRIP)
    assert (run["reset_to"], run["chain_length"]) == (cut, 1)
    seed = stage.sent["events"] and stage.nodes[0].runs.get("run-1").header.seed
    again = [key for key in payments.calls[calls:] if key.startswith("run-1/")]
    assert all(key.split("/")[1] == seed for key in again), "what the cut kept is not paid again"
    assert {int(key.rsplit("/", 1)[1]) for key in again}.isdisjoint(before)
    stage.restart()
    assert stage.query("none").reason == "unknown_query"  # it replays, with its base's events


@pytest.mark.parametrize("steps", range(24))
def test_an_open_run_goes_on_from_each_of_its_decisions(steps: int) -> None:
    """Whatever it waits for, an open run can be reset to any of its decisions, and attempts that run count."""
    for back in (0, 1, 2, 5):
        payments = Payments()
        stage = Stage(long_trip, paying_child)
        stage.start(long_trip)
        given = iter(WORDS)
        for _ in range(steps):
            step(stage, payments, given)
        held = stage.take("tasks")  # attempts that the workers have when the run is reset
        if stage.described()["status"] != "running":
            continue
        ends = ends_of(stage)
        assert type(reset(stage, ends[max(0, len(ends) - 1 - back)])).__name__ == "Accepted"
        stage.sent["tasks"] = held + stage.sent.get("tasks", [])
        finish(stage, payments, given)
        assert (stage.described()["status"], stage.described()["result"]) == ("completed", TRIP)
        assert len(payments.calls) == len(set(payments.calls)), "an attempt that ran was not repeated"


def step(stage: Stage, payments: Payments, words: Any) -> None:
    """One thing that a trip waits for happens."""
    tasks = stage.take("tasks")
    if tasks:
        stage.sent["tasks"] = tasks[1:]
        (task,) = tasks[:1]
        payments.calls.append(task.idempotency_key)
        payments.paid[task.idempotency_key] = msgspec.json.decode(task.input)
        stage.complete(task, msgspec.json.decode(task.input))
    elif stage.described()["signals_awaited"]:
        stage.signal("reset-word", next(words))
    elif stage.described()["pending_timers"]:
        stage.advance(3600)


def test_what_follows_the_cut_has_other_chances() -> None:
    """Random values before the cut are kept; those after it differ, and so does the run id that the code sees."""
    stage = Stage(sleeps_and_throws)
    stage.start(sleeps_and_throws)
    stage.advance(1)
    first = stage.described()["result"]
    reset(stage, 2)
    stage.advance(1)
    second = stage.described()["result"]
    assert (first[0], first[1] == second[1], first[2] == second[2]) == (second[0], False, False)
    reset(stage, 0)
    stage.advance(1)
    assert stage.described()["result"][0] != first[0]


@workflow
async def sleeps_and_throws() -> list[str]:
    first = str(uuid4())
    await sleep(1)
    return [first, str(uuid4()), info().run_id]


def test_a_cut_within_a_decision_is_made_before_it() -> None:
    """What a decision received and what it requested stay together: its input is received again."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    (task,) = stage.take("tasks")
    stage.complete(task, 1)
    reset(stage, 3)  # ActivityCompleted, which event 4 follows
    assert stage.events() == [
        "WorkflowStarted", "ActivityScheduled", "WorkflowForked", "ActivityCompleted", "ActivityScheduled",
    ]  # fmt: skip
    assert stage.described()["reset_to"] == 2


def test_the_history_says_who_reset_a_run_and_why() -> None:
    """The end of the one run and the begin of the other keep who asked for it and why, and name each other."""
    stage = Stage(flows.five)
    base = stage.start(flows.five, 1)
    reset(stage, 2, by="ann", reason="wrong sum")
    run = stage.described()
    (ended,) = [event for event in stage.history(run_id=base) if event["event"] == "WorkflowReset"] or [{}]
    forked = next(event for event in stage.history() if event["event"] == "WorkflowForked")
    assert (forked["by"], forked["reason"], forked["base_run_id"]) == ("ann", "wrong sum", base)
    assert run["reset_from"] == base
    assert run["first_run_id"] == base
    assert not ended or ended["next_run_id"] == run["run_id"]


def test_callers_that_await_a_run_await_the_one_that_goes_on() -> None:
    """A caller that awaited the run is answered once, with the end of the run that goes on; downstream hears of one."""
    stage = Stage(flows.approved)
    base = stage.start(flows.approved)
    stage.tell(AwaitResult(workflow_id="run-1", run_id=base, message_id="w", reply_to=0))
    reset(stage, 2)
    assert stage.take("replies") == []
    assert stage.take("completions") == []
    stage.signal("price", 5)
    (closed,) = stage.take("replies")
    assert (closed.message_id, closed.run_id, closed.status) == ("w", base, "completed")
    assert len(stage.take("completions")) == 1


def test_an_attempt_that_runs_goes_on_and_its_next_keeps_the_key() -> None:
    """The result of an attempt of the base counts; if it fails, the next attempt has the same idempotency key."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    (first,) = stage.take("tasks")
    reset(stage, 2)
    assert stage.take("tasks") == []
    stage.fail(first, SOFT)
    stage.advance(1)
    (second,) = stage.take("tasks")
    assert (second.idempotency_key, second.attempt) == (first.idempotency_key, 2)
    assert second.run_id != first.run_id
    stage.complete(first, 7)  # late: its attempt is over
    stage.complete(second, 8)
    assert stage.described()["result"] == "8"


@pytest.mark.parametrize("ends", ["completed", "failed"])
def test_a_cut_before_the_last_attempt(ends: str) -> None:
    """A cut at which an activity waits for its next attempt keeps the outcome that a later attempt had."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    tasks = stage.take("tasks")
    stage.fail(tasks[0], SOFT)
    cut = stage.described()["events"]
    for last in (False, True):
        stage.advance(600)
        (task,) = stage.take("tasks")
        if last and ends == "completed":
            stage.complete(task, 5)
        else:
            stage.fail(task, SOFT)
    expected = stage.described()["result"]
    reset(stage, cut)
    assert "WorkflowForked" in stage.events()
    assert stage.described()["result"] == expected
    assert stage.take("tasks") == []
    assert [key for store in stage.stores for key, _ in store.scan(b"T", b"U")] == []


def test_an_attempt_that_waits_keeps_its_time() -> None:
    """An activity that waits for its next attempt gets it at the old time, with the old key, in the new run."""
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    (first,) = stage.take("tasks")
    stage.fail(first, SOFT)
    due_ms = stage.described()["pending_activities"][0]["retry_ms"]
    reset(stage, 2)
    (pending,) = stage.described()["pending_activities"]
    assert (pending["retry_ms"], pending["attempt"]) == (due_ms, 1)
    stage.advance(600)
    (second,) = stage.take("tasks")
    assert second.idempotency_key == first.idempotency_key


def test_an_activity_that_the_closed_base_left_is_tried_again() -> None:
    """An attempt that ran when the base was terminated is followed by another one with the same key."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    (first,) = stage.take("tasks")
    stage.terminate()
    reset(stage, 2)
    stage.advance(1)
    (second,) = stage.take("tasks")
    assert (second.idempotency_key, second.attempt) == (first.idempotency_key, 2)
    stage.complete(second, 1)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11


def test_a_run_timeout_begins_anew() -> None:
    """A run that was over its time has all of it again when it is reset; a bound of its chain that is known, too."""
    for bound in ("run_timeout_ms", "execution_timeout_ms"):
        stage = Stage(flows.approved)
        stage.start(flows.approved, **{bound: 10_000})
        stage.advance(20)
        assert stage.described()["status"] == "failed"
        reset(stage, 2)
        assert stage.described()["deadline_ms"] == stage.now_ms + 10_000
        stage.advance(5)
        assert stage.described()["status"] == "running"
        stage.advance(6)
        assert stage.described()["status"] == "failed"


def test_a_delayed_start_stays_delayed() -> None:
    """A run that has not begun when it is reset begins at its time."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1, start_delay_ms=10_000)
    reset(stage, 1)
    assert stage.described()["begins_ms"]
    stage.advance(11)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11


def test_an_update_after_the_cut_is_applied_again() -> None:
    """Updates that were accepted after the cut take effect again, as signals do; a rejected one does not."""
    stage = Stage(counters.Counter)
    stage.start(counters.Counter, 1)
    cut = stage.described()["events"]
    stage.update("pay", 2, message_id="u")
    before = stage.query("get").result
    reset(stage, cut)
    assert "UpdateHeld" in stage.events()
    assert stage.query("get").result == before
    repeated = stage.update("pay", 2, message_id="u", wait_for="accepted")
    assert type(repeated).__name__ == "Accepted"
    assert stage.events().count("UpdateHeld") == 1


def test_a_paused_run_stays_paused() -> None:
    """A reset does not lift a pause: the new run begins nothing until it is resumed."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    (task,) = stage.take("tasks")
    stage.tell(PauseWorkflow(workflow_id="run-1", message_id="p", by="ann", reason="wait"))
    stage.complete(task, 1)
    reset(stage, 2)
    run = stage.described()
    assert (run["status"], run["paused_by"]) == ("paused", "ann")
    assert stage.take("tasks") == []
    stage.restart()
    stage.tell(ResumeWorkflow(workflow_id="run-1", message_id="r"))
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11


def test_a_run_that_was_paused_at_the_cut_goes_on() -> None:
    """A cut within a pause, or while the run was BLOCKED, leaves a run that goes on and keeps no mark."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.tell(PauseWorkflow(workflow_id="run-1", message_id="p"))
    stage.signal("price", 5)
    cut = stage.described()["events"]
    stage.tell(ResumeWorkflow(workflow_id="run-1", message_id="r"))
    reset(stage, cut)
    assert stage.described()["result"] == "paid 5"
    stage = Stage(flows.far_away)
    stage.start(flows.far_away, 1)
    stage.queues.add("elsewhere")
    reset(stage, 0)
    assert stage.described()["status"] == "running"
    assert not list(stage.stores[0].scan(b"B", b"C"))


def test_a_closed_run_is_reset_by_its_run_id() -> None:
    """While its history is kept, an earlier run of the id goes on, once the current one has closed; not before."""
    stage = Stage(flows.five)
    base = stage.start(flows.five, 1)
    stage.run(add=lambda a, b: a + b)
    stage.start(flows.five, 5, on_existing="restart_closed")
    refused = reset(stage, 4, base_run_id=base)
    assert "has an open run" in refused.message and "terminate it first" in refused.message
    stage.terminate()
    reset(stage, 4, base_run_id=base)
    stage.advance(1)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11


def test_a_run_is_reset_after_the_id_has_expired() -> None:
    """The history alone is enough: a run whose id is known no more goes on as well."""
    stage = Stage(flows.five)
    base = stage.start(flows.five, 1)
    stage.run(add=lambda a, b: a + b)
    stage.stores[0].write({b"Rrun-1": None})
    stage.restart()
    reset(stage, 4, base_run_id=base)
    stage.advance(1)
    stage.run(add=lambda a, b: a + b)
    assert stage.described()["result"] == 11


def test_a_reset_run_is_reset_again() -> None:
    """A run that goes on from another one can be reset to an event of either; requests keep the seeds they had."""
    payments = Payments()
    stage = travelled(payments)
    ends = ends_of(stage)
    reset(stage, ends[20])
    finish(stage, payments)
    calls = len(payments.calls)
    again = ends_of(stage)
    reset(stage, again[22])
    finish(stage, payments)
    reset(stage, ends[5])
    finish(stage, payments)
    assert stage.described()["result"] == TRIP
    assert stage.described()["chain_length"] == 3
    assert len(payments.calls) > calls
    stage.restart()
    assert stage.query("none").reason == "unknown_query"


@pytest.mark.parametrize(
    ("to_event", "sentence"),
    [
        (99, "The history of run-1 has 12 events, so it has no event 99."),
        (-1, "The history of run-1 has 12 events, so it has no event -1."),
        (12, "Event 12 closed the run "),
    ],
)
def test_a_reset_to_no_event_is_refused(to_event: int, sentence: str) -> None:
    """A number that is none of the history, or the closing event, is refused with a sentence."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    stage.run(add=lambda a, b: a + b)
    assert reset(stage, to_event).message.startswith(sentence)


def test_a_run_whose_history_is_gone_cannot_be_reset() -> None:
    """An unknown run, and one whose history was dropped, are refused with a sentence."""
    stage = Stage(flows.five)
    assert reset(stage, 1).message == "There is no run with the id run-1."
    stage.start(flows.five, 1)
    stage.terminate()
    assert "is not kept" in reset(stage, 1, base_run_id="other").message


def test_code_that_cannot_repeat_the_history_keeps_the_run() -> None:
    """A reset to events that today's code does not repeat is refused, and the run is what it was."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    stage.restart(renamed(flows.five, flows.sleeper))
    refused = reset(stage, 2)
    assert refused.reason == "blocked"
    assert refused.message.startswith("the code of run-1 cannot repeat the history up to event 2: ")
    assert stage.described()["reset_from"] is None


def renamed(old: Any, new: Any) -> Any:
    """Another workflow under the name of an old one."""
    changed = copy.copy(new)
    changed.name = old.name
    return changed


def test_a_request_to_stop_after_the_cut_does_not_count() -> None:
    """A cancelled run goes on if the cut is before the request to stop."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c"))
    assert stage.described()["status"] == "cancelled"
    reset(stage, 2)
    assert (stage.described()["status"], stage.described()["cancel_requested"]) == ("running", False)


def test_a_repeated_reset_has_no_effect() -> None:
    """A reset whose message took effect is answered again, and resets nothing."""
    stage = Stage(flows.five)
    stage.start(flows.five, 1)
    command = ResetWorkflow(workflow_id="run-1", to_event=2, message_id="r", reply_to=0)
    for _ in range(2):
        stage.tell(command)
    assert stage.described()["chain_length"] == 1


def test_signals_before_and_after_the_cut_are_remembered() -> None:
    """A signal that was received before the reset and is sent again with its id has no effect."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.signal("go")
    stage._messages -= 1
    cut = stage.described()["events"]
    stage.signal("go")
    assert stage.events().count("SignalReceived") == 1
    reset(stage, cut)
    stage._messages = 1
    stage.signal("go")
    assert stage.events().count("SignalReceived") == 1


def test_an_attempt_that_reports_goes_on_reporting() -> None:
    """Heartbeats and details of an attempt that runs when its run is reset count in the run that goes on."""
    stage = Stage(beats)
    stage.start(beats)
    (task,) = stage.take("tasks")
    report(stage, task, TaskStarted(**token_of(task), worker="w"))
    report(stage, task, TaskHeartbeat(**token_of(task), details=b"3"))
    reset(stage, 2)
    stage.advance(3)
    report(stage, task, TaskHeartbeat(**token_of(task), details=b""))
    stage.advance(4)
    assert stage.described()["pending_activities"][0]["attempt"] == 1
    stage.advance(10)  # silent for longer than its bound
    (again,) = stage.take("tasks")
    assert (again.attempt, again.details, again.idempotency_key) == (2, b"3", task.idempotency_key)


@activity(heartbeat="5s", retries=3, backoff=["1s"])
def tick_on() -> int:
    return 1


@workflow
async def beats() -> int:
    return await tick_on()


def token_of(task: Any) -> dict[str, Any]:
    return {
        "workflow_id": task.workflow_id,
        "run_id": task.run_id,
        "sequence": task.sequence,
        "attempt": task.attempt,
    }


def report(stage: Stage, task: Any, record: Any) -> None:
    stage.put("results", task.shard, encode(record))
    stage.settle()


def test_attempts_behind_the_cut_are_cancelled() -> None:
    """Of the attempts that run, those of activities that were requested after the cut are cancelled, and no others."""
    stage = Stage(flows.five, flows.fan)
    stage.start(flows.fan, 3)
    stage.take("cancellations")
    reset(stage, stage.described()["events"])
    assert stage.take("cancellations") == []
    stage.start(flows.five, 1, id="run-1", on_existing="terminate_existing")
    stage.take("tasks")
    stage.take("cancellations")
    reset(stage, 0)
    (cancelled,) = stage.take("cancellations")
    assert (cancelled.sequence, cancelled.attempt) == (1, 1)
