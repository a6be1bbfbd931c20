"""Tests of the transition tables: the scenarios together reach every row."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from penstock.engine.authoring.children import start_child
from penstock.engine.authoring.context import side_effect
from penstock.engine.authoring.describing import details, set_search
from penstock.engine.authoring.external import get_run
from penstock.engine.authoring.publishing import publish
from penstock.engine.authoring.versions import patched
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.keys import HISTORY, after
from penstock.engine.core.machine import advance
from penstock.engine.core.machines import (
    activity,
    chain,
    child,
    delay,
    deletion,
    external,
    importing,
    marker,
    note,
    options,
    pause,
    query,
    reset,
    run,
    signal,
    timer,
    update,
)
from penstock.patterns.saga import Saga
from penstock.schemas.failure import Failure
from penstock.schemas.records.activity import ChangeActivity, SkipActivity
from penstock.schemas.records.pause import PauseWorkflow, ResumeWorkflow
from penstock.schemas.records.reset import ResetWorkflow
from penstock.schemas.records.retention import DeleteWorkflow, ImportWorkflow
from penstock.schemas.records.run import CancelWorkflow, TerminateWorkflow, UnblockWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from tests.engine.core import counters, flows
from tests.engine.stage import Stage
from tests.schemas.samples import sample_of

MODULES = (
    *(run, activity, timer, child, signal, marker, note, external, query, update, delay, chain, pause, reset),
    *(deletion, importing, options),
)
HARD = Failure(type="app.Refused", message="no", non_retryable=True)
SOFT = Failure(type="app.Refused", message="no")


class _Recorder(dict[Any, Any]):
    """A table that records which of its rows were looked up."""

    def __init__(self, table: dict[Any, Any]) -> None:
        super().__init__(table)
        self.used: set[Any] = set()

    def __getitem__(self, key: Any) -> Any:
        self.used.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        if super().__contains__(key):
            self.used.add(key)
            return True
        return False


def _completed() -> None:
    stage = Stage(flows.parent, flows.five)
    stage.start(flows.parent, "kid")
    stage.run(add=lambda a, b: a + b)


def _failed_after_retries() -> None:
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    (task,) = stage.take("tasks")
    stage.fail(task, SOFT)
    stage.advance(1)
    (task,) = stage.take("tasks")
    stage.fail(task, HARD)


def _failed() -> None:
    Stage(flows.failing).start(flows.failing, 1)


def _cancelled_with_its_child() -> None:
    stage = Stage(flows.parent, flows.five)
    stage.start(flows.parent, "kid")
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))


def _cancelled_while_an_attempt_waits() -> None:
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    (task,) = stage.take("tasks")
    stage.fail(task, SOFT)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))


def _given_up_and_awaited() -> None:
    for fails in (None, SOFT, HARD):
        stage = Stage(flows.travel)
        stage.start(flows.travel, ["hotel"])
        (task,) = stage.take("tasks")
        if fails is SOFT:
            stage.fail(task, SOFT)
        stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
        if fails is None:
            stage.complete(task, "hotel")
        if fails is HARD:
            stage.fail(task, HARD)
        stage.advance(1)
    stage = Stage(gives_up_a_child, flows.approved)
    stage.start(gives_up_a_child)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))


@workflow
async def gives_up_a_child() -> None:
    async with Saga() as saga:
        await saga.do(flows.approved().options(id="kid"), undo=flows.unbook_place("kid"))


def _reported_and_timed() -> None:
    for ends in ("in time", "late", "given up"):
        stage = Stage(flows.scanned)
        stage.start(flows.scanned)
        (task,) = stage.take("tasks")
        stage.report(task, task.started("w"))
        stage.report(task, task.heartbeat(b"1"))
        if ends == "late":
            stage.fail(task, SOFT)
            stage.advance(100)
        if ends == "given up":
            stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
            stage.report(task, task.started("w"))
            stage.report(task, task.heartbeat(b"1"))
        stage.complete(task, 1)


def _child_failed() -> None:
    stage = Stage(flows.parent, flows.five)
    stage.start(flows.parent, "kid")
    stage.tell(TerminateWorkflow(workflow_id="kid", message_id="m"))


@workflow
async def stays_on() -> None:
    try:
        await flows.go.wait()
    except asyncio.CancelledError:
        return


@workflow
async def begins_children(how: str) -> None:
    if how == "given up":
        async with Saga() as saga:
            await saga.do(stays_on().options(id="kid"), undo=flows.unbook_place("kid"))
    kid = await start_child(stays_on(), id="kid")
    await kid.result()


def _children_with_handles() -> None:
    for how in ("completes", "is terminated", "is cancelled", "given up"):
        stage = Stage(begins_children, stays_on)
        stage.start(begins_children, how)
        if how == "completes":
            stage.signal("go", id="kid")
        elif how == "is terminated":
            stage.tell(TerminateWorkflow(workflow_id="kid", message_id="m"))
        else:
            stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))


def _terminated() -> None:
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="m"))


def _timers() -> None:
    for answered in (True, False):
        stage = Stage(flows.approved)
        stage.start(flows.approved)
        if answered:
            stage.signal("price", 1)
        stage.advance(3600)


def _blocked_and_terminated_or_freed() -> None:
    for freed in (True, False):
        stage = Stage(flows.far_away)
        stage.start(flows.far_away, 1)
        if freed:
            stage.queues.add("elsewhere")
            stage.tell(UnblockWorkflow(workflow_id="run-1", message_id="m"))
        else:
            stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="m"))


def _over_their_time() -> None:
    for flow, arguments in ((flows.approved, ()), (flows.far_away, (1,))):
        stage = Stage(flow)
        stage.start(flow, *arguments, run_timeout_ms=1_000)
        stage.advance(1)


@workflow
async def marks() -> str:
    side_effect(lambda: 1)
    details("marking")
    set_search(mark=1)
    return "new" if patched("mark") else "old"


@workflow
async def signals_and_cancels(id: str) -> None:
    publish("tests.audit", value=id)
    get_run(id).signal(flows.price, 7)
    get_run(id).cancel()


def _markers() -> None:
    Stage(marks).start(marks)


def _another_run() -> None:
    stage = Stage(signals_and_cancels, flows.approved)
    stage.start(flows.approved, id="other")
    stage.start(signals_and_cancels, "other")


def _interaction() -> None:
    for held in (True, False):
        stage = Stage(counters.words)
        stage.start(counters.words, start_delay_ms=1_000 * held)
        if held:
            stage.update("counters-add", "a", message_id="a", wait_for="accepted")
            stage.update("counters-add", "a", message_id="a")
        stage.advance(2)
        stage.signal("counters-open")
        stage.signal("counters-word", "stop")
        stage.tick()
    stage = Stage(counters.Counter)
    stage.start(counters.Counter, 1)
    stage.update("raises")
    stage.update("pay", 1, message_id="b", wait_for="accepted")
    stage.update("pay", 1, message_id="b")
    stage.query("get")


def _paused() -> None:
    for command in (ResumeWorkflow, TerminateWorkflow, None):
        for flow, arguments in ((flows.approved, ()), (flows.far_away, (1,))):
            stage = Stage(flow)
            stage.start(flow, *arguments, run_timeout_ms=1_000)
            stage.tell(PauseWorkflow(workflow_id="run-1", message_id="p"))
            if command is not None:
                stage.tell(command(workflow_id="run-1", message_id="m"))
            stage.advance(1)


def _skipped() -> None:
    for fails in (False, True):
        stage = Stage(flows.retried)
        stage.start(flows.retried, 1)
        (task,) = stage.take("tasks")
        if fails:
            stage.fail(task, SOFT)
        stage.tell(ChangeActivity(workflow_id="run-1", sequence=1, timeout_ms=9, message_id="c"))
        stage.tell(SkipActivity(workflow_id="run-1", sequence=1, message_id="s"))
    stage = Stage(flows.travel)
    stage.start(flows.travel, ["hotel"])
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
    stage.tell(SkipActivity(workflow_id="run-1", sequence=1, message_id="s"))


def _reset() -> None:
    for halts in (None, PauseWorkflow):
        for flow, arguments in (
            (flows.retried, (1,)),
            (flows.five, (1,)),
            (flows.far_away, (1,)),
            (begins_children, ("given up",)),
        ):
            stage = Stage(flow, stays_on)
            stage.start(flow, *arguments)
            if flow is flows.retried:
                (task,) = stage.take("tasks")
                stage.fail(task, SOFT)
            if halts is not None:
                stage.tell(halts(workflow_id="run-1", message_id="p"))
            for number in range(3):
                end = stage.described()["events"]
                stage.tell(ResetWorkflow(workflow_id="run-1", to_event=end, message_id=f"r{number}"))
    for ends in ("completes", "fails"):  # by an attempt after the cut
        stage = Stage(flows.retried)
        stage.start(flows.retried, 1)
        for number in range(3):
            (task,) = stage.take("tasks")
            if number == 2 and ends == "completes":
                stage.complete(task, 1)
            else:
                stage.fail(task, SOFT)
            stage.advance(600)
        stage.tell(ResetWorkflow(workflow_id="run-1", to_event=3, message_id="r"))
    stage = Stage(begins_children, stays_on)
    stage.start(begins_children, "completes")
    stage.tell(ResetWorkflow(workflow_id="run-1", to_event=stage.described()["events"], message_id="r"))
    for flow, argument in ((flows.travel, ["hotel"]), (gives_up_a_child, None)):
        stage = Stage(flow, flows.approved)
        stage.start(flow, *filter(None, [argument]))
        if argument is None:
            stage.tell(PauseWorkflow(workflow_id="kid", message_id="p"))  # it does not end at once
        stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
        stage.tell(ResetWorkflow(workflow_id="run-1", to_event=stage.described()["events"], message_id="r"))


def _too_long() -> None:
    for halts in (None, PauseWorkflow, "blocks"):
        stage = Stage(flows.looks_again, flows.far_away)
        stage.nodes[0].runs.hosted.history_max = 12
        stage.start(flows.far_away if halts == "blocks" else flows.looks_again, *([1] if halts == "blocks" else []))
        if halts is PauseWorkflow:
            stage.tell(PauseWorkflow(workflow_id="run-1", message_id="p"))
        for number in range(12):
            stage.tell(SignalWorkflow(workflow_id="run-1", signal="word", input=b"1", message_id=f"s{number}"))
        stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c"))


def _deleted() -> None:
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.terminate()
    records = tuple(value for _, value in stage.stores[0].scan(HISTORY, after(HISTORY)))
    stage.tell(DeleteWorkflow(workflow_id="run-1", message_id="d"))
    stage.tell(ImportWorkflow(workflow_id="run-1", run_id="r", records=records, message_id="i"))


SCENARIOS: list[Callable[[], None]] = [
    _completed,
    _failed_after_retries,
    _failed,
    _cancelled_with_its_child,
    _cancelled_while_an_attempt_waits,
    _given_up_and_awaited,
    _reported_and_timed,
    _child_failed,
    _children_with_handles,
    _terminated,
    _timers,
    _blocked_and_terminated_or_freed,
    _markers,
    _another_run,
    _over_their_time,
    _interaction,
    _paused,
    _skipped,
    _reset,
    _too_long,
    _deleted,
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.MACHINE.name)
def test_every_row_is_reached(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenarios together look up every row of the machine's table, and find it there."""
    assert module.MACHINE.transitions is module.TRANSITIONS
    recorder = _Recorder(module.TRANSITIONS)
    monkeypatch.setattr(module, "TRANSITIONS", recorder)
    for scenario in SCENARIOS:
        scenario()
    unused = [f"{state} --{event.__name__}" for state, event in set(recorder) - recorder.used]
    assert unused == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.MACHINE.name)
def test_an_event_in_the_wrong_state_is_a_broken_invariant(module: Any) -> None:
    """A table refuses its events in a state that has no row for them."""
    for event in {event for _, event in module.TRANSITIONS}:
        with pytest.raises(AssertionError, match=event.__name__):
            advance(module.TRANSITIONS, "no such state", sample_of(event), "x")
