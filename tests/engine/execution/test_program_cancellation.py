"""Tests of cancellation: a run's code sees what plain asyncio code would see, and may clean up durably.

Each scenario runs twice: as a task of plain asyncio on a loop whose time passes at once, and as a workflow. What it
noted, when, and how it ended must be the same; the workflow's notes are read by a query, from a replay of its history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from penstock.engine.authoring.handlers import Query
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep, wait_condition
from penstock.engine.authoring.workflow import workflow
from penstock.schemas.records.run import CancelWorkflow
from tests.engine.core import flows
from tests.engine.stage import START_MS, Stage

Note = Callable[[str], None]


async def waits(note: Note) -> str:
    """The error is raised where the code waits."""
    await asyncio.sleep(1)
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError as error:
        note(f"cancelled {error.args}")
        raise
    return "not cancelled"


async def cleans_up(note: Note) -> str:
    """`finally` blocks run from the inside out, and may wait."""
    try:
        try:
            await asyncio.sleep(10)
        finally:
            note("inner")
            await asyncio.sleep(2)
            note("inner waited")
    finally:
        await asyncio.sleep(3)
        note("outer waited")
    return "not cancelled"


async def swallows(note: Note) -> str:
    """Code that catches the error goes on."""
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError:
        note("caught")
    await asyncio.sleep(2)
    task = asyncio.current_task()
    return f"went on, {task.cancelling() if task else None}"


async def shields(note: Note) -> str:
    """A shielded task goes on, and can be awaited afterwards."""

    async def inner() -> str:
        await asyncio.sleep(6)
        note("shielded work is done")
        return "done"

    task = asyncio.create_task(inner())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        note("outer cancelled")
        note(await task)
        raise


async def shields_nothing_that_ended(note: Note) -> str:
    """A shield of what has ended is no wait."""
    task = asyncio.create_task(asyncio.sleep(1, "early"))
    await asyncio.sleep(2)
    note(await asyncio.shield(task))
    await asyncio.shield(asyncio.sleep(10))
    return "not cancelled"


async def times_out(note: Note) -> str:
    """A time-out before the cancellation is a TimeoutError; the cancellation then meets the next wait."""
    try:
        async with asyncio.timeout(2):
            await asyncio.sleep(10)
    except TimeoutError:
        note("timed out")
    await asyncio.sleep(10)
    return "not cancelled"


async def cancelled_in_a_timeout(note: Note) -> str:
    """A cancellation inside a time-out is no TimeoutError."""
    try:
        async with asyncio.timeout(8) as outer, asyncio.timeout(20):
            await asyncio.sleep(10)
    except BaseException as error:
        note(f"{type(error).__name__} {outer.expired()}")
        raise
    return "not cancelled"


async def cleans_up_past_a_timeout(note: Note) -> str:
    """A time-out that passes while the code cleans up interrupts the cleaning up."""
    try:
        async with asyncio.timeout(4):
            try:
                await asyncio.sleep(10)
            finally:
                note("cleans up")
                try:
                    await asyncio.sleep(5)
                except asyncio.CancelledError:
                    note("interrupted")
                    raise
    except BaseException as error:
        note(type(error).__name__)
        raise
    return "not cancelled"


async def waits_for(note: Note) -> str:
    """`wait_for` cancels what it waits for."""

    async def inner() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            note("inner ends")
            await asyncio.sleep(1)
            note("inner ended")

    await asyncio.wait_for(inner(), 20)
    return "not cancelled"


async def gathers(note: Note) -> str:
    """`gather` cancels all that still run."""

    async def inner(seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            note(f"{seconds} cancelled")
            raise
        note(f"{seconds} done")
        return str(seconds)

    await asyncio.gather(inner(1), inner(5), inner(6), return_exceptions=True)
    return "not cancelled"


async def groups(note: Note) -> str:
    """A TaskGroup cancels its tasks, awaits their cleaning up and is cancelled."""

    async def inner(seconds: float) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(seconds)
            note(f"{seconds} cleaned up")

    try:
        async with asyncio.TaskGroup() as group:
            for seconds in (2, 1):
                group.create_task(inner(seconds))
            note("body ends")
    finally:
        note("group ends")
    return "not cancelled"


async def groups_that_fail(note: Note) -> str:
    """A task that fails cancels the others and the body; the group raises, and a cancellation meets the next wait."""

    async def fails() -> None:
        await asyncio.sleep(1)
        raise ValueError("no good")

    async def other() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            note("other cancelled")
            raise

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(other())
            await asyncio.sleep(10)
    except* ValueError as error:
        note(repr(error.exceptions))
    await asyncio.sleep(10)
    return "not cancelled"


async def groups_that_fail_in_cleaning_up(note: Note) -> str:
    """A failure while a cancelled group cleans up takes the place of the cancellation."""

    async def inner() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise ValueError("cannot clean up")

    async with asyncio.TaskGroup() as group:
        group.create_task(inner())
    return "not cancelled"


async def takes_back(note: Note) -> str:
    """`uncancel` takes a cancellation back, so that a TaskGroup or time-out that follows works."""
    task = asyncio.current_task()
    assert task is not None
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError:
        note(f"{task.cancelling()} {task.uncancel()}")
    try:
        async with asyncio.timeout(1):
            await asyncio.sleep(10)
    except TimeoutError:
        note("timed out")
    return "went on"


async def cancels_its_own_tasks(note: Note) -> str:
    """Tasks that code cancels itself, with a text, before they begin and while they wait; a lock is released."""
    lock = asyncio.Lock()

    async def inner(name: str) -> None:
        async with lock:
            note(f"{name} has the lock")
            await asyncio.sleep(10)

    tasks = [asyncio.create_task(inner(name)) for name in "abc"]
    tasks[1].cancel("never begins")
    await asyncio.sleep(1)
    tasks[0].cancel("by hand")
    for task in tasks[:2]:
        try:
            await task
        except asyncio.CancelledError as error:
            note(f"{error.args} {task.cancelled()}")
    await tasks[2]
    return "not cancelled"


async def queues(note: Note) -> str:
    """A cancelled reader of a queue, an event and a condition leaves them usable."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    event, condition = asyncio.Event(), asyncio.Condition()

    async def waits_on_condition() -> None:
        async with condition:
            await condition.wait()

    readers = [asyncio.create_task(reader) for reader in (queue.get(), event.wait(), waits_on_condition())]
    await asyncio.sleep(1)
    for reader in readers:
        reader.cancel()
    done, _ = await asyncio.wait(readers)
    queue.put_nowait(7)
    note(f"{len(done)} {await queue.get()} {condition.locked()}")
    await event.wait()
    return "not cancelled"


async def ends_before(note: Note) -> str:
    """A cancellation that comes after the end changes nothing."""
    await asyncio.sleep(1)
    note("ends")
    return "ended"


SCENARIOS: dict[str, Callable[[Note], Awaitable[str]]] = {
    scenario.__name__: scenario
    for scenario in (
        waits, cleans_up, swallows, shields, shields_nothing_that_ended, times_out, cancelled_in_a_timeout,
        cleans_up_past_a_timeout, waits_for, gathers, groups, groups_that_fail, groups_that_fail_in_cleaning_up,
        takes_back, cancels_its_own_tasks, queues, ends_before,
    )
}  # fmt: skip
CANCELLED_AT_S = 3
REASON = "changed our mind"
BOOKS: dict[str, Callable[..., Any]] = {"book_place": lambda name: name, "unbook_place": lambda name: None}

notes = Query("cancellation-notes", list[list[Any]])


@workflow(name="cancellation-compared", blocks_on=())
async def compared(name: str) -> str:
    """A scenario as a workflow."""
    noted: list[list[Any]] = []
    loop = asyncio.get_running_loop()
    notes.answer(lambda: noted)
    return await SCENARIOS[name](lambda what: noted.append([round(loop.time() - START_MS / 1000, 3), what]))


class _AtOnce(asyncio.SelectorEventLoop):
    """A loop of plain asyncio whose time passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def pass_time(timeout: float | None) -> Any:
            self.now_s += timeout or 0
            return select(0)

        self._selector.select = pass_time  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now_s


def _in_plain_asyncio(name: str) -> tuple[list[list[Any]], str]:
    loop = _AtOnce()
    noted: list[list[Any]] = []

    async def run() -> str:
        return await SCENARIOS[name](lambda what: noted.append([round(loop.time(), 3), what]))

    async def supervise() -> str:
        task = asyncio.create_task(run())
        loop.call_at(CANCELLED_AT_S, task.cancel, REASON)
        await asyncio.wait([task])
        if task.cancelled():
            return "cancelled"
        error = task.exception()
        return f"failed {type(error).__name__}" if error is not None else f"completed {task.result()}"

    try:
        return noted, loop.run_until_complete(supervise())
    finally:
        loop.close()


def _as_a_workflow(name: str, *, restarts: bool) -> tuple[list[list[Any]], str]:
    stage = Stage(compared, strict_inputs=True)
    stage.start(compared, name)
    for second in range(30):
        if second == CANCELLED_AT_S:
            stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c", reason=REASON))
        if restarts:
            stage.restart()
        stage.advance(1)
    noted = stage.query(notes.name)
    described = stage.described()
    ends = {"completed": f"completed {described['result']}", "cancelled": "cancelled"}
    failed = f"failed {(described['failure'] or {'type': ''})['type'].rpartition('.')[2]}"
    return msgspec.json.decode(noted.result), ends.get(described["status"], failed)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_cancelled_workflow_does_what_a_cancelled_task_does(name: str, restarts: bool) -> None:
    """What the code notes, when it does, and how it ends are those of plain asyncio, also when it is rebuilt each
    second."""
    assert _as_a_workflow(name, restarts=restarts) == _in_plain_asyncio(name)


@workflow(name="cancellation-cleaner")
async def cleaner() -> None:
    """Clean up with activities and a durable sleep, the second of them after a wait."""
    try:
        await flows.book_place("room")
    finally:
        await flows.unbook_place("room")
        await sleep("1h")
        await flows.unbook_place("room again")


def test_cleaning_up_may_run_activities_and_sleep() -> None:
    """After a cancellation the code runs activities and sleeps, across restarts; then the run is cancelled, with the
    reason that was given."""
    stage = Stage(cleaner)
    stage.start(cleaner)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c", reason=REASON))
    for _ in range(2):
        stage.restart()
        (pending,) = stage.described()["pending_activities"]
        assert (stage.described()["status"], pending["activity"]) == ("running", "unbook_place")
        stage.run(**BOOKS)
        stage.advance(3_600)
    described = stage.described()
    assert (described["status"], described["reason"]) == ("cancelled", REASON)


@pytest.mark.parametrize("commands", [["c", "d"], ["c", "c"]])
def test_cancelling_twice_is_harmless(commands: list[str]) -> None:
    """A second request, or the first again, does not interrupt cleaning up; the first reason counts, in one event."""
    stage = Stage(cleaner)
    stage.start(cleaner)
    for number, message_id in enumerate(commands):
        command = CancelWorkflow(workflow_id="run-1", message_id=message_id, reason=f"{REASON} {number}", reply_to=0)
        stage.tell(command)
        assert type(stage.take("replies")[-1]).__name__ == "Accepted"
    for _ in range(2):
        stage.restart()
        (pending,) = stage.described()["pending_activities"]
        assert pending["activity"] == "unbook_place"
        stage.run(**BOOKS)
        stage.advance(3_600)
    described = stage.described()
    assert (described["status"], described["reason"]) == ("cancelled", f"{REASON} 0")
    assert stage.events().count("CancelRequested") == 1


stop = Signal("cancellation-stop")


@workflow(name="cancellation-tells")
async def tells() -> str:
    """Return the reason that the code is given."""
    try:
        await stop.wait(timeout="1h")
    except asyncio.CancelledError as error:
        return str(error)
    return ""


def test_the_code_is_given_the_reason() -> None:
    """The reason of a cancellation is the text of the CancelledError, live and on replay."""
    stage = Stage(tells)
    stage.start(tells)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c", reason=REASON))
    assert stage.described()["result"] == REASON


@workflow(name="cancellation-handles")
class Handles:
    """Its handler cleans up when the run is cancelled."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> None:
        """Wait for ever."""
        await wait_condition(lambda: False)

    @workflow.update
    async def serve(self) -> str:
        """Wait, and clean up."""
        try:
            await sleep("1d")
        finally:
            await flows.unbook_place("room")
            self.seen.append("cleaned up")
        return "served"

    @workflow.query
    def what(self) -> list[str]:
        """What it saw."""
        return self.seen


def test_a_cancelled_handler_cleans_up_before_the_run_ends() -> None:
    """A handler that runs is cancelled with the run, with its reason; the run ends when its cleaning up has ended."""
    stage = Stage(Handles)
    stage.start(Handles)
    stage.update("serve")
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="c", reason=REASON))
    stage.restart()
    assert stage.described()["status"] == "running"
    stage.run(**BOOKS)
    assert stage.described()["status"] == "cancelled"
    (closed,) = [reply for reply in stage.take("replies") if type(reply).__name__ == "UpdateClosed"]
    assert closed.failure.message == REASON
    assert stage.query("what").result == b'["cleaned up"]'
