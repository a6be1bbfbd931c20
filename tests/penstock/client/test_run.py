"""Tests of Run: commands to a run, its result, reads after its end."""

import asyncio

import pytest

from penstock.client import awaited as awaited_module
from penstock.client import run as run_module
from penstock.schemas.errors import (
    BadInput,
    StillRunning,
    WorkflowFailedError,
    WorkflowNotFound,
)
from penstock.schemas.failure import Failure
from penstock.schemas.records.replies import Accepted
from penstock.schemas.records.run import CancelWorkflow, TerminateWorkflow, UnblockWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from tests.penstock.client.helpers import (
    Parcel,
    agreeable,
    approval,
    closed,
    parcel_of,
    rejected,
    with_client,
)


def test_commands(log, processor):
    """Each method sends its command to the run of the handle."""

    async def use(client):
        run = await client.start(parcel_of("a", 1), id="x")
        await run.signal(approval, Parcel(3.5))
        await run.signal("by-name", {"a": [1]})
        await run.cancel("enough")
        await run.terminate("now")
        await client.unblock("x")
        return run.run_id

    with processor(agreeable) as fake:
        run_id = with_client(log, use)
    _, signal, by_name, cancel, terminate, unblock = (command for _, command in fake.commands)
    assert isinstance(signal, SignalWorkflow)
    assert (signal.signal, signal.input, signal.run_id) == ("client-trial-approval", b'{"weight":3.5}', run_id)
    assert (by_name.signal, by_name.input) == ("by-name", b'{"a":[1]}')
    assert isinstance(cancel, CancelWorkflow)
    assert (cancel.reason, cancel.run_id) == ("enough", run_id)
    assert isinstance(terminate, TerminateWorkflow)
    assert isinstance(unblock, UnblockWorkflow)
    assert unblock.run_id == ""
    assert len({command.message_id for _, command in fake.commands}) == 6


def test_refusals(log, processor):
    """A refused command raises the error for its reason with the processor's message."""
    with processor(lambda command: [rejected(command, message="There is no run with the id x.")]):
        for use in (lambda client: client.cancel("x"), lambda client: client.result("x")):
            with pytest.raises(WorkflowNotFound, match="There is no run with the id x"):
                with_client(log, use)


def test_a_failed_run(log, processor):
    """result() of a failed run raises WorkflowFailed with the failure."""

    def answer(command):
        return [closed(command, "failed", failure=Failure(type="bank.CardDeclined", message="no funds"))]

    with processor(answer), pytest.raises(WorkflowFailedError, match="x failed: CardDeclined: no funds"):
        with_client(log, lambda client: client.result("x"))


def test_a_result_that_does_not_fit(log, processor):
    """A result that does not fit the declared type raises BadInput."""
    with processor(agreeable), pytest.raises(BadInput):
        with_client(log, lambda client: client.get("x", returns=int).result())


def test_a_run_that_stays_open(log, processor):
    """result() with a timeout raises a TimeoutError that says that the run stays open."""

    async def use(client):
        client.reads.is_served = served
        await client.result("x", timeout="300ms")

    async def served(_, *, here, attempts):
        return True

    with processor(lambda command: []), pytest.raises(StillRunning, match="stays open") as raised:
        with_client(log, use)
    assert isinstance(raised.value, TimeoutError)


def test_a_run_that_no_processor_serves(log):
    """If no processor answers, the error of result() leaves open whether the run closed and has the remedy."""
    with pytest.raises(StillRunning, match=r"not known whether x closed: .*start `penstock dev"):
        with_client(log, lambda client: client.result("x", timeout="300ms"))


def test_a_check_that_hangs(log, monkeypatch):
    """A check that hangs delays result() only briefly, and its error leaves open whether the run closed."""
    monkeypatch.setattr(run_module, "SERVED_TIMEOUT_S", 0.2)

    async def use(client):
        client.reads.is_served = hangs
        with pytest.raises(StillRunning, match=r"not known whether x closed: check that the log can be reached"):
            await client.result("x", timeout="300ms")

    async def hangs(_, *, here, attempts=0):
        await asyncio.sleep(60)

    with_client(log, use)


def test_a_signal_with_a_note(log, processor):
    """The note of a processor about a signal is reported to the sender."""
    warnings = []

    async def use(client):
        client.exchange.unanswered.warn = warnings.append
        await client.signal("x", "aproval", 1)

    def answer(command):
        return [Accepted(message_id=command.message_id, workflow_id="x", run_id="r", note="no module declares it")]

    with processor(answer):
        with_client(log, use)
    assert warnings == ["note on the signal to x: no module declares it."]


def test_asking_again(log, processor, monkeypatch):
    """A long wait asks again, since replies expire, under the same message id: the processor keeps one row for it."""
    monkeypatch.setattr(run_module, "ASK_AGAIN_S", 0.2)
    monkeypatch.setattr(awaited_module, "KEPT_S_MIN", 0.0)
    monkeypatch.setattr(awaited_module, "MARGIN_S", 0.1)
    message_ids = []

    def answer(command):
        message_ids.append(command.message_id)
        return [closed(command, result=b"1")] if len(message_ids) == 3 else []

    with processor(answer):
        assert with_client(log, lambda client: client.result("x")) == 1
    assert len(set(message_ids)) == 1


def test_reads_after_the_result(log, processor):
    """After result() the reads show the end of the run, although the processor writes its store a moment later."""
    states = [{"closed_ms": None}, {"closed_ms": None}, {"closed_ms": 7}]
    histories = [[{"event": "WorkflowStarted"}], [{"event": "WorkflowCompleted"}]]

    async def use(client):
        run = client.get("x")
        client.reads.describe = lambda _: next_answer(states)
        client.reads.history = lambda *_: next_answer(histories)
        before = await run.describe()
        await run.result()
        return before, await run.describe(), await run.history()

    async def next_answer(answers):
        return answers.pop(0)

    with processor(agreeable):
        before, after, history = with_client(log, use)
    assert (before["closed_ms"], after["closed_ms"], history[-1]["event"]) == (None, 7, "WorkflowCompleted")
