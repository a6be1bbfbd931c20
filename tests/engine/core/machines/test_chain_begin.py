"""Tests of how the next run of a chain begins: its object is made, and its handlers take what went along, at once."""

from __future__ import annotations

import pytest

from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.context import side_effect
from penstock.engine.authoring.handlers import Update
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.versions import patched
from penstock.engine.authoring.waiting import sleep, wait_condition
from penstock.engine.authoring.workflow import workflow
from penstock.schemas.records.replies import Rejected, UpdateClosed
from penstock.schemas.records.run import UnblockWorkflow
from penstock.schemas.values.retry import RetryPolicy
from tests.engine.core import flows
from tests.engine.stage import Stage

early = Signal("early", int)
ask = Update("ask", int, int)
unknown = Update("unknown", int, int)


@workflow(name="begin-collects")
async def collects() -> None:
    """Wait, without reading a signal or taking an update, and go on as a class that does."""
    await sleep(10)
    continue_as_new(Takes(3))


@workflow(name="begin-takes")
class Takes:
    """Takes what went along. Its object asks for recorded values."""

    def __init__(self, number: int) -> None:
        self.number, self.mark, self.is_patched = number, side_effect(lambda: 7), patched("begin-mark")
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        """End when all is there."""
        self.seen.append("run")
        await wait_condition(lambda: len(self.seen) >= 4)
        return [*self.seen, f"{self.mark} {self.is_patched}"]

    @workflow.signal
    async def early(self, value: int) -> None:
        """Add a value, after an activity."""
        self.seen.append(f"signal {value}")
        self.seen.append(f"sum {await flows.add(value, self.number)}")

    @workflow.update
    async def ask(self, value: int) -> int:
        """Answer, after an activity."""
        self.seen.append(f"update {value}")
        return await flows.add(value, self.number)

    @ask.validator
    def _check(self, value: int) -> None:
        if value < 0:
            raise ValueError("a negative number")

    @workflow.query
    def so_far(self) -> list[str]:
        """What it has seen."""
        return self.seen


def _stage() -> Stage:
    stage = Stage(collects, Takes, strict_inputs=True)
    stage.start(collects)
    return stage


@pytest.mark.parametrize("restarts", [False, True])
def test_handlers_take_what_went_along_before_run(restarts: bool) -> None:
    """Signals and updates of the run before reach the handlers of a class, in the order of their kinds, before `run`;
    what its `__init__` asked for is recorded."""
    stage = _stage()
    stage.signal(early.name, 1)
    for message_id, value in (("a", 5), ("b", -5)):
        assert stage.update(ask.name, value, message_id=message_id, timeout_ms=60_000) is None
    stage.update(unknown.name, 1, message_id="c", timeout_ms=60_000)
    stage.advance(11)
    if restarts:
        stage.restart()
    replies = {reply.message_id: reply for reply in stage.take("replies")}
    assert {message_id: type(reply) for message_id, reply in replies.items()} == {"b": Rejected, "c": Rejected}
    assert (replies["b"].message, replies["c"].message) == (
        "a negative number",
        "The run has no update called 'unknown'; it has: ask.",
    )
    assert stage.query("so_far").result == b'["signal 1","update 5","run"]'
    stage.run(add=lambda a, b: a + b)
    (closed,) = [reply for reply in stage.take("replies") if isinstance(reply, UpdateClosed)]
    assert (closed.message_id, closed.result) == ("a", b"8")
    assert stage.described()["result"] == ["signal 1", "update 5", "run", "sum 4", "7 True"]


def test_a_next_run_of_a_type_that_is_not_hosted_takes_what_went_along_when_it_is() -> None:
    """It is BLOCKED with everything that went along, and takes it when its type is hosted."""
    stage = Stage(collects)
    stage.start(collects)
    stage.signal(early.name, 1)
    stage.advance(11)
    assert (stage.described()["status"], stage.described()["type"]) == ("blocked", "begin-takes")
    stage.restart(collects, Takes)
    stage.tell(UnblockWorkflow(workflow_id="run-1", message_id="r"))
    assert stage.query("so_far").result == b'["signal 1","run"]'
    stage.nodes[0].close()


tries: list[int] = []


@workflow(name="begin-again")
class Again:
    """Fails at its first try; its object asks for a recorded value."""

    def __init__(self) -> None:
        self.number = side_effect(lambda: len(tries))
        tries.append(self.number)

    @workflow.run
    async def run(self) -> int:
        """Fail once."""
        await sleep(1)
        if not self.number:
            raise ValueError("not yet")
        return self.number


def test_a_retried_run_is_made_anew() -> None:
    """A run that is tried again makes its object when it fails, and replays it as recorded."""
    tries.clear()
    stage = Stage(Again, strict_inputs=True)
    stage.start(Again, retry=RetryPolicy(retries_max=1, delays_ms=(5_000,), factor=1.0))
    for _ in range(4):
        stage.advance(1)
        stage.restart()
    stage.advance(10)
    assert (stage.described()["status"], stage.described()["result"]) == ("completed", 1)
