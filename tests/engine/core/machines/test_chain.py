"""Tests of chains: a run continues as new, and is addressed, awaited and remembered as one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.engine.audit import apply
from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.context import info
from penstock.engine.authoring.handlers import Update
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.keys import CLOSED, HISTORY, JOINED, MESSAGE, SHARD_KEY, after, parse_closed_key, run_key
from penstock.engine.core.machines.chain import next_run_id
from penstock.engine.core.rows import unpack_run
from penstock.engine.core.working import WorkingRun
from penstock.patterns.saga import Saga
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.records.replies import Accepted, RunClosed
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, StartWorkflow, TerminateWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from tests.engine.core import flows
from tests.engine.core.counters import Counter, words
from tests.engine.stage import Stage

tick = Signal("chain-tick", int)


@workflow(name="chain-sum")
async def add_up(total: int, rounds: int) -> int:
    """Add two signals in each run of the chain."""
    total += await tick.wait() + await tick.wait()
    if rounds > 1:
        continue_as_new(add_up(total, rounds - 1))
    return total


@workflow(name="chain-at-once")
async def at_once(left: int) -> list[Any]:
    """Continue without any wait."""
    if left:
        continue_as_new(at_once(left - 1))
    found = info()
    return [found.workflow_id, found.parent_workflow_id, found.headers, await tick.wait()]


@workflow(name="chain-leaves-work")
async def leaves_work(again: bool) -> str:
    """Leave an activity, a timer and a child behind in the next run's favour."""
    if not again:
        return "second"
    left = [asyncio.create_task(flows.add(1, 2)), asyncio.create_task(sleep(3600))]
    left.append(asyncio.create_task(flows.approved().options(id="kid")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    continue_as_new(leaves_work(False))


@workflow(name="chain-saga")
async def in_a_saga(again: bool) -> str:
    """Continue as new inside a saga."""
    async with Saga() as saga:
        await saga.do(flows.book_place("room"), undo=flows.unbook_place("room"))
        try:
            if again:
                continue_as_new(in_a_saga(False))
        except Exception:  # as careless code does
            return "caught"
    return "booked"


late = Update("chain-late", returns=str)


@workflow(name="chain-holds")
async def holds(again: bool) -> None:
    """Take no update in the first run of the chain."""
    if again:
        await tick.wait()
        continue_as_new(holds(False))
    late.answer(lambda: "second")
    await tick.wait()


@workflow(name="chain-parent")
async def parent_of_a_chain() -> int:
    return int((await at_once(3).options(id="kid"))[3])


def _tick(stage: Stage, value: int, run_id: str = "", message_id: str = "") -> Any:
    return stage.replied(
        SignalWorkflow(
            workflow_id="run-1", signal="chain-tick", input=str(value).encode(), run_id=run_id,
            message_id=message_id or stage.message_id(),
        )
    )  # fmt: skip


def test_a_chain_is_one_run_to_those_outside() -> None:
    """The first run's id is the chain's for every command and reply; the result is that of the last run."""
    stage = Stage(add_up)
    first = stage.start(add_up, 0, 3, reply_to=0)
    stage.tell(AwaitResult(workflow_id="run-1", run_id=first, message_id="a", reply_to=0))
    assert stage.take("replies")[0].run_id == first
    for value in (1, 2, 3, 4, 5):
        assert _tick(stage, value, run_id=first).run_id == first
        stage.tick()
    described = stage.described()
    assert described["run_id"] not in {first, next_run_id("run-1", first)}
    assert stage.replied(AwaitResult(workflow_id="run-1", run_id=described["run_id"], message_id="b")) is None
    stage.take("replies")
    _tick_quietly(stage, 6, first)
    closed = {reply.message_id: reply for reply in stage.take("replies") if isinstance(reply, RunClosed)}
    assert {message_id: reply.result for message_id, reply in closed.items()} == {"a": b"21", "b": b"21"}
    assert isinstance(stage.replied(AwaitResult(workflow_id="run-1", run_id=first, message_id="c")), RunClosed)


def _tick_quietly(stage: Stage, value: int, run_id: str) -> None:
    stage.tell(
        SignalWorkflow(workflow_id="run-1", signal="chain-tick", input=b"%d" % value, run_id=run_id, message_id="last")
    )


@pytest.mark.parametrize("command", [CancelWorkflow, TerminateWorkflow])
def test_a_chain_is_stopped_by_its_first_run_s_id(command: Any) -> None:
    """Cancel and terminate with the first run's id reach the current run; with another one's they are refused."""
    stage = Stage(add_up)
    first = stage.start(add_up, 0, 3)
    for value in (1, 2):
        _tick(stage, value)
    stage.tick()
    assert stage.replied(command(workflow_id="run-1", run_id="other", message_id="x")).reason == "not_found"
    assert isinstance(stage.replied(command(workflow_id="run-1", run_id=first, message_id="y")), Accepted)
    assert stage.described()["status"] == ("cancelled" if command is CancelWorkflow else "terminated")


def test_unread_signals_go_along_and_read_ones_do_not() -> None:
    """The next run reads what the last one had not, in its order, and nothing twice."""
    stage = Stage(add_up)
    stage.start(add_up, 0, 3, start_delay_ms=1_000)
    for value in (1, 10, 100, 1_000, 10_000):
        _tick(stage, value)
    stage.advance(2)
    assert stage.described()["signals_unread"] == {}
    _tick(stage, 100_000)
    assert stage.described()["result"] == 111_111


def test_fast_signals_across_a_chain_are_not_lost() -> None:
    """Signals that come in one batch with the moment of continuing all arrive, once each, also after restarts."""
    stage = Stage(add_up)
    stage.start(add_up, 0, 20)
    for value in range(40):
        command = SignalWorkflow(workflow_id="run-1", signal="chain-tick", input=b"%d" % value, message_id=f"s{value}")
        for _ in range(1 + value % 2):  # some twice
            stage.put("commands", 0, encode(command))
    stage.settle()
    for _ in range(25):
        stage.restart()
        stage.advance(0.01)
    assert stage.described()["result"] == sum(range(40))


def test_steady_signals_do_not_starve_a_chain() -> None:
    """A run that receives a signal in each layer continues all the same, one run for two signals."""
    stage = Stage(add_up)
    stage.start(add_up, 0, 50)
    runs = set()
    for value in range(100):
        _tick(stage, value)
        stage.tick()
        runs.add(stage.described()["run_id"])
    assert (stage.described()["result"], len(runs)) == (sum(range(100)), 50)


def test_a_repeated_start_awaits_the_end_of_its_chain() -> None:
    """A start that awaits the result, repeated when its run has continued, waits for the chain's end as at first."""
    stage = Stage(add_up)
    given = b'{"total":0,"rounds":2}'
    start = StartWorkflow(
        workflow_id="run-1", workflow_type="chain-sum", input=given, message_id="first", await_result=True
    )
    assert stage.replied(start) is None
    for value in (1, 2):
        _tick(stage, value)
    stage.tick()
    assert stage.replied(start) is None
    for value in (3, 4):
        stage.signal("chain-tick", value)
    assert [reply.result for reply in stage.take("replies") if isinstance(reply, RunClosed)] == [b"10"]


def test_held_updates_go_along() -> None:
    """An update that waits for its handler is held by the next run, and answered by it; an accepted one is not."""
    stage = Stage(words)
    stage.start(words)
    stage.signal("counters-open")
    assert stage.update("counters-add", "a", message_id="taken").result == b"1"
    stage.signal("counters-word", "stop")
    stage.tick()
    assert stage.update("counters-add", "b", message_id="held") is None
    stage.signal("counters-word", "stop")  # unread until it is opened
    stage.signal("counters-open")
    (answer,) = stage.take("replies")
    assert (answer.message_id, answer.result) == ("held", b"2")
    stage.tick()
    assert stage.update("counters-add", "b", message_id="held").result == b"2"
    assert stage.query("counters-shown").result == b'["a","b"]'


def test_an_update_held_at_the_moment_of_continuing_goes_along() -> None:
    """A held update's row moves to the next run, which rejects it in its turn or takes it."""
    stage = Stage(holds)
    stage.start(holds, True)
    assert stage.update("chain-late", message_id="u") is None
    stage.signal("chain-tick", 1)
    stage.tick()
    assert [reply.result for reply in stage.take("replies")] == [b'"second"']
    assert stage.update("chain-late", message_id="u").result == b'"second"'


def test_a_caller_goes_along_with_its_held_update() -> None:
    """A caller that waited for acceptance, and another one for the end, are answered by the next run."""
    stage = Stage(holds)
    stage.start(holds, True)
    assert stage.update("chain-late", message_id="u", wait_for="accepted") is None
    assert stage.update("chain-late", message_id="u") is None
    stage.signal("chain-tick", 1)
    stage.tick()
    accepted, ended = sorted(stage.take("replies"), key=lambda reply: type(reply).__name__)
    assert (type(accepted).__name__, ended.result) == ("Accepted", b'"second"')


def test_an_update_that_continues_the_run_is_not_delivered_again() -> None:
    """An update that completed in the decision that continued as new is known by its id in the whole chain."""
    stage = Stage(Counter)
    stage.start(Counter, 4, True)
    assert stage.update("finish", message_id="u").result == b"4"
    stage.tick()
    run_id = stage.described()["run_id"]
    assert stage.update("finish", message_id="u").result == b"4"
    stage.tick()
    assert stage.described()["run_id"] == run_id
    assert stage.query("get").result == b"4"


def test_a_message_is_recognised_in_the_whole_chain() -> None:
    """A repeated signal, start or cancellation of an earlier run of the chain has no effect again."""
    stage = Stage(add_up)
    first = stage.start(add_up, 0, 3, reply_to=0)
    _tick(stage, 1, message_id="s1")
    _tick(stage, 2, message_id="s2")
    stage.tick()
    _tick(stage, 3, message_id="s1")
    _tick(stage, 3, message_id="s2")
    assert stage.described()["signals_unread"] == {}
    again = StartWorkflow(workflow_id="run-1", workflow_type="chain-sum", input=b"{}", message_id=first)
    reply = stage.replied(again)
    assert (reply.run_id, reply.existing) == (first, False)
    for value in (10, 20, 30, 40):
        _tick(stage, value)
        stage.tick()
    assert stage.described()["result"] == 103


def test_a_start_whose_run_continues_at_once_is_recognised() -> None:
    """A repeated start is answered with the first run's id, though the chain went on in the same decision."""
    stage = Stage(at_once)
    first = stage.start(at_once, 2, reply_to=0)
    stage.advance(1)
    run_id = stage.described()["run_id"]
    for on_existing in ("use_existing", "reject", "restart_closed"):
        again = StartWorkflow(
            workflow_id="run-1", workflow_type="chain-at-once", input=b"2", message_id=first, on_existing=on_existing
        )  # fmt: skip
        reply = stage.replied(again)
        assert (reply.run_id, reply.existing) == (first, False)
    assert stage.described()["run_id"] == run_id


def test_a_loop_of_continuing_does_not_fill_a_transaction() -> None:
    """Each run of a chain that never waits begins in a decision of its own; other runs are decided between them."""
    stage = Stage(at_once, flows.five)
    stage.start(at_once, 1_000_000)
    stage.sent.clear()
    stage.tick()
    assert len(stage.sent["events"]) <= 4
    stage.start(flows.five, 1, id="other")
    assert len(stage.take("tasks")) == 1


def test_histories_of_continued_runs_leave_the_store() -> None:
    """The store keeps the current run's history alone, and a bounded number of rows for each run that continued."""
    stage = Stage(at_once)
    stage.start(at_once, 100)
    counts = []
    for turn in range(100):
        stage.tick()
        if turn % 50 == 9:
            counts.append({kind: _count(stage, kind) for kind in (HISTORY, MESSAGE, JOINED, CLOSED)})
    assert counts[0][HISTORY] == counts[1][HISTORY] <= 2
    assert counts[0][MESSAGE] == counts[1][MESSAGE]
    assert counts[0][JOINED] == counts[1][JOINED]
    assert counts[1][CLOSED] - counts[0][CLOSED] == 50


def _count(stage: Stage, kind: bytes) -> int:
    return len(list(stage.stores[0].scan(kind, after(kind))))


def test_rows_of_continued_runs_expire() -> None:
    """After the retention nothing is left of the runs of a chain but the current one."""
    stage = Stage(at_once, closed_kept_ms=86_400_000)
    first = stage.start(at_once, 5)
    for hours in range(100):
        stage.advance(3_600)
        stage.tell(CancelWorkflow(workflow_id="other", message_id=f"m{hours}"))
    left = [key for key, _ in stage.stores[0].scan(b"\x01", b"\xff") if b"run-1" in key and key[:1] != HISTORY]
    assert left == [run_key("run-1")]
    assert _tick(stage, 7, run_id=first).run_id == first
    assert [parse_closed_key(key).workflow_id for key, _ in stage.stores[0].scan(CLOSED, after(CLOSED))] == ["run-1"]


def test_pending_work_ends_with_its_run() -> None:
    """Activities, timers and children of a run that continues are given up: children are cancelled."""
    stage = Stage(leaves_work, flows.approved)
    stage.start(leaves_work, True)
    stage.advance(1)
    (task,) = stage.take("tasks")
    stage.complete(task, 3)
    assert stage.described()["result"] == "second"
    assert stage.described("kid")["status"] == "cancelled"
    assert _count(stage, b"T") == 0


def test_a_saga_takes_it_for_success() -> None:
    """A saga that is left by continuing undoes nothing, and no `except Exception` stops it."""
    stage = Stage(in_a_saga)
    stage.start(in_a_saga, True)
    stage.advance(1)
    undone: list[str] = []
    for _ in range(3):
        stage.run(book_place=lambda name: name, unbook_place=undone.append)
        stage.advance(1)
    assert (stage.described()["result"], undone) == ("booked", [])


def test_what_a_start_gave_goes_along() -> None:
    """Headers, the parent and its wait go along: the parent receives the chain's result, once."""
    stage = Stage(parent_of_a_chain, at_once)
    stage.start(parent_of_a_chain, headers={"trace": "7"})
    stage.advance(1)
    stage.signal("chain-tick", 9, id="kid")
    assert stage.described()["result"] == 9
    assert stage.described("kid")["result"] == ["kid", "run-1", {"trace": "7"}, 9]
    assert len(stage.sent["completions"]) == 2, "one of each chain"


def test_cancelling_the_parent_cancels_the_chain() -> None:
    """A parent that is cancelled cancels its child by the id of the child's first run."""
    stage = Stage(parent_of_a_chain, at_once)
    stage.start(parent_of_a_chain)
    stage.advance(1)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c"))
    assert (stage.described()["status"], stage.described("kid")["status"]) == ("cancelled", "cancelled")


def test_the_rows_follow_from_the_topic_events() -> None:
    """Decisions of chains, folded from `events` alone, give the rows of the store."""
    stage = Stage(add_up, at_once, words, Counter)
    stage.start(add_up, 0, 3, reply_to=0)
    stage.tell(AwaitResult(workflow_id="run-1", message_id="a", reply_to=0))
    stage.start(at_once, 5, id="loop")
    stage.start(words, id="words")
    stage.update("counters-add", "x", id="words", message_id="h")
    stage.start(Counter, 1, True, id="counter")
    stage.update("finish", id="counter", message_id="u")
    stage.signal("counters-word", "stop", id="words")
    for value in range(5):
        _tick(stage, value)
        stage.tick()
    stage.signal("counters-open", id="words")
    stage.signal("counters-open", id="words")
    rows = _Rows()
    for record in stage.sent["events"]:
        header = rows.get(run_key(record.workflow_id))
        run = WorkingRun(record.workflow_id, unpack_run(header) if header else None, rows, decode)
        apply(run, encode(record))
        rows.write(run.writes)
    kept = {key: value for key, value in stage.stores[0].scan(b"\x01", b"\xff") if key != SHARD_KEY}
    assert rows.rows == kept


class _Rows:
    """Rows in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def of_run(self, workflow_id: str, prefix: bytes) -> Any:
        return iter(sorted((key, value) for key, value in self.rows.items() if key.startswith(prefix)))

    def write(self, writes: dict[bytes, bytes | None]) -> None:
        for key, value in writes.items():
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
