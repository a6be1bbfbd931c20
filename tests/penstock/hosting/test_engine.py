"""Tests of Engine inside another program."""

import asyncio
import threading

import pytest

from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.hosting.engine import Engine
from penstock.schemas.errors import BadInput, ModuleNotLoaded, StoreError, UnknownWorkflowType, UserError
from penstock.workers.activity.decorator import activity

go = Signal("embedding-go")


@activity(name="embedding-triple")
def triple(number: int) -> int:
    return 3 * number


@workflow(name="embedding-trial")
async def trial(number: int) -> int:
    return await triple(number)


@workflow(name="embedding-waits")
async def waits() -> str:
    await go.wait()
    return "gone"


def run(use, *arguments, **settings):
    async def inside():
        async with Engine(*arguments, **settings) as engine:
            return await asyncio.wait_for(use(engine), 60)

    return asyncio.run(inside())


def test_a_run():
    """Inside the block workflows and activities run, and the client reads their history."""

    async def use(engine):
        run = await engine.client.start(trial(7), id="x")
        return await run.result("20s"), await run.describe(), await run.history()

    result, described, history = run(use, [trial, triple], "embedded::memory:")
    assert result == 21
    assert (described["status"], described["result"]) == ("completed", 21)
    assert [event["number"] for event in history] == [1, 2, 3, 4]


def test_a_run_across_two_engines(tmp_path):
    """A run that waits when the block ends continues in another engine on the same log."""
    url = f"embedded:{tmp_path}/log"

    async def begin(engine):
        await engine.client.start(waits(), id="x")

    async def end(engine):
        await engine.client.signal("x", go)
        return await engine.client.result("x", timeout="20s")

    run(begin, [waits], url)
    assert run(end, [waits], url) == "gone"


def test_only_what_is_hosted():
    """An engine that was given workflows hosts no others."""
    with pytest.raises(UnknownWorkflowType, match="embedding-trial"):
        run(lambda engine: engine.client.start(trial(1)), [waits], "embedded::memory:")


def test_no_thread_is_left(tmp_path):
    """After the block none of its threads is running."""

    async def use(engine):
        await engine.client.start(trial(7), id="x")

    before = {thread.ident for thread in threading.enumerate()}
    run(use, [trial, triple], f"embedded:{tmp_path}/log")
    left = [thread.name for thread in threading.enumerate() if thread.ident not in before]
    assert [name for name in left if name.startswith("penstock")] == []


def test_invalid_items():
    """An item that is no module, workflow or activity is refused, and so is a missing module."""

    async def use(_):
        raise AssertionError("it ran")

    with pytest.raises(BadInput, match="hosts modules"):
        run(use, [len], "embedded::memory:")
    with pytest.raises(ModuleNotLoaded):
        run(use, ["embedding_absent"], "embedded::memory:")


def test_outside_of_its_block():
    """An engine outside of its block raises an error that shows its use."""
    with pytest.raises(UserError, match="async with Engine"):
        _ = Engine([trial], "embedded::memory:").client


def test_an_error_of_the_processor(tmp_path):
    """The error that ended the processor early is raised when the block ends."""
    state = tmp_path / "file"
    state.write_text("not a directory")

    async def use(_):
        await asyncio.sleep(0.5)

    from penstock.config import Settings

    with pytest.raises((StoreError, OSError)):
        run(use, [trial], settings=Settings(log=f"embedded:{tmp_path}/log", data=str(state)))


def test_one_item_without_a_list():
    """A single workflow, module or name needs no list."""

    async def use(engine):
        await engine.client.signal("x", go)
        return await engine.client.result("x", timeout="20s")

    async def begin_and_end(engine):
        await engine.client.start(waits(), id="x")
        return await use(engine)

    assert run(begin_and_end, waits, "embedded::memory:") == "gone"


def test_items_without_a_list():
    """Several items without a list raise an error that shows the list."""
    with pytest.raises(BadInput, match=r"Engine\(\[order, deliver\]\)"):
        Engine(trial, triple)


@workflow(name="embedding-class")
class Counts:
    """A workflow that is a class."""

    def __init__(self, number):
        self.number = number

    @workflow.run
    async def run(self):
        """Triple the number."""
        return await triple(self.number)


def test_a_class_is_hosted_as_a_function_is():
    """A workflow class in the list, or alone, is hosted; the plain class beside it is refused with a hint."""

    async def use(engine):
        return await engine.client.execute(Counts(5), id="x", timeout="20s")

    assert run(use, [Counts, triple], "embedded::memory:") == 15

    class Undecorated:
        async def run(self): ...

    with pytest.raises(BadInput, match="is a decorator missing"):
        run(use, [Undecorated, triple], "embedded::memory:")
