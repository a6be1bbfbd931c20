"""Random programs that use every primitive of workflow code, and scripts of what happens to them from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import strategies as st

from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.children import start_child
from penstock.engine.authoring.context import info, now, random, side_effect, uuid4
from penstock.engine.authoring.describing import details, set_search
from penstock.engine.authoring.handlers import Query, Update
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.versions import patched
from penstock.engine.authoring.waiting import sleep, wait_condition
from penstock.engine.authoring.workflow import workflow
from penstock.patterns.saga import Saga
from penstock.schemas.errors import ActivityFailedError, ChildWorkflowFailed, NotInWorkflow
from penstock.workers.activity.decorator import activity

Step = list[Any]
Block = list[Step]

GENERATIONS_MAX = 2
FAILS_FROM = 90
"""Numbers from which on the activities fail."""

word = Signal("programs-word", int)
noted = Query("programs-noted", list[str])
small_word = Signal("programs-small-word", int)
token_update = Update("programs-token", int, int)


@activity(name="programs-work", retries=0)
def work(n: int) -> int: ...


@activity(name="programs-retried", retries=2, backoff=["2s", "3s"])
def retried(n: int) -> int: ...


@activity(name="programs-undo", retries=1, backoff=["1s"])
def undo(n: int) -> None: ...


@workflow(name="programs-small", blocks_on=())
async def small(n: int) -> int:
    """A child: wait for a word for some seconds, and clean up for one."""
    try:
        n += await small_word.wait(timeout=n % 6 + 1)
    except TimeoutError:
        if n >= FAILS_FROM:
            raise ValueError("too large") from None
    finally:
        await sleep(1)
    return n


@workflow(name="programs-programmed", blocks_on=())
class Programmed:
    """Interprets a program, and notes what it sees."""

    def __init__(self, program: Block, generation: int) -> None:
        self.program, self.generation = program, generation
        self.log = [f"init {generation} {side_effect(lambda: 7)}"]
        self.total = 0
        self.began = now()

    @workflow.run
    async def run(self) -> list[str]:
        """The program, then the end."""
        noted.answer(lambda: self.log)
        await self.block(self.program)
        self.note("end")
        return self.log

    def note(self, what: object) -> None:
        """Note something, with the time."""
        self.log.append(f"{(now() - self.began).total_seconds():g}: {what}")

    async def block(self, steps: Block) -> None:
        """Steps one after the other."""
        for name, *given in steps:
            try:
                await getattr(self, f"_{name}")(*given)
            except (ActivityFailedError, ChildWorkflowFailed, NotInWorkflow) as error:
                self.note(f"{name}: {type(error).__name__}")

    # Steps.

    async def _work(self, n: int) -> None:
        self.note(f"worked {await work(n)}")

    async def _retried(self, n: int) -> None:
        self.note(f"tried {await retried(n)}")

    async def _sleep(self, seconds: int) -> None:
        await sleep(seconds)
        self.note("slept")

    async def _word(self, seconds: int | None) -> None:
        try:
            self.note(f"word {await word.wait(timeout=seconds)}")
        except TimeoutError:
            self.note("no word")

    async def _condition(self, n: int, seconds: int | None) -> None:
        try:
            await wait_condition(lambda: self.total >= n, timeout=seconds)
            self.note(f"total {self.total}")
        except TimeoutError:
            self.note(f"only {self.total}")

    async def _chance(self) -> None:
        self.note(f"{random().randrange(1_000)} {uuid4().hex[:6]} {side_effect(lambda: 5)} {patched('programs')}")

    async def _describe(self, n: int) -> None:
        details({"n": n})
        set_search(number=n)

    async def _known(self) -> None:
        known = info()
        self.note(f"{known.chain_length} {known.history_length}")

    async def _timeout(self, seconds: int, steps: Block) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.block(steps)
        except TimeoutError:
            self.note("timed out")

    async def _wait_for(self, seconds: int, steps: Block) -> None:
        try:
            await asyncio.wait_for(self.block(steps), seconds)
        except TimeoutError:
            self.note("waited in vain")

    async def _shield(self, steps: Block) -> None:
        task = asyncio.create_task(self.block(steps))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self.note("shielded")
            await task
            raise

    async def _group(self, *blocks: Block) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for steps in blocks:
                    group.create_task(self.block(steps))
        except* ValueError as error:
            self.note(f"{len(error.exceptions)} failed")

    async def _gather(self, *blocks: Block) -> None:
        found = await asyncio.gather(*map(self.block, blocks), return_exceptions=True)
        self.note([type(one).__name__ for one in found])

    async def _race(self, *blocks: Block) -> None:
        tasks = [asyncio.create_task(self.block(steps)) for steps in blocks]
        try:
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.note(f"{len(done)} of {len(done) + len(pending)}")

    async def _finally(self, steps: Block, cleaning: Block) -> None:
        try:
            await self.block(steps)
        finally:
            self.note("cleans up")
            await self.block(cleaning)

    async def _catch(self, steps: Block) -> None:
        try:
            await self.block(steps)
        except asyncio.CancelledError as error:
            self.note(f"caught {error}")

    async def _saga(self, n: int, steps: Block) -> None:
        async with Saga() as saga:
            await saga.do(work(n), undo=undo(n))
            await self.block(steps)

    async def _answer(self, seconds: int, steps: Block) -> None:
        async def handler(n: int) -> int:
            await sleep(seconds)
            self.note(f"answered {n}")
            return n + 1

        async with token_update.answer(handler, validator=_not_negative):
            await self.block(steps)

    async def _child(self, n: int) -> None:
        self.note(f"child gave {await small(n)}")

    async def _start_child(self, n: int, close: Any, steps: Block, then: str) -> None:
        handle = await start_child(small(n), parent_close=close)
        self.note("child started")
        await self.block(steps)
        if then == "signal":
            handle.signal(small_word, 7)
        elif then == "cancel":
            handle.cancel("enough")
        if then != "leave":
            self.note(f"child gave {await handle.result()}")

    async def _raise(self) -> None:
        raise ValueError("on purpose")

    async def _continue(self) -> None:
        if self.generation < GENERATIONS_MAX:
            continue_as_new(Programmed(self.program, self.generation + 1))

    # Handlers.

    @workflow.signal
    def bump(self, n: int) -> None:
        """Add to the total."""
        self.total += n
        self.note(f"bumped {n}")

    @workflow.signal
    async def later(self, n: int) -> None:
        """Add to the total after an activity."""
        try:
            self.total += await work(n)
        except ActivityFailedError:
            self.note("later failed")

    @workflow.query
    def read(self) -> list[str]:
        """Everything that was noted."""
        return [*self.log, f"total {self.total}"]

    @workflow.update
    def add(self, n: int) -> int:
        """Add to the total at once."""
        self.total += n
        self.note(f"added {n}")
        return self.total

    @add.validator
    def _check(self, n: int) -> None:
        _not_negative(n)

    @workflow.update
    async def pay(self, n: int) -> int:
        """Add to the total after an activity, which may fail, and a sleep."""
        self.total += await retried(n)
        await sleep(1)
        self.note(f"paid {n}")
        return self.total


def _not_negative(n: int) -> None:
    if n < 0:
        raise ValueError("a negative number")


def run_program(program: Block) -> Coroutine[Any, Any, Any]:
    """The call of a program."""
    found: Coroutine[Any, Any, Any] = Programmed(program, 0)  # type: ignore[assignment]  # an object that is a call
    return found


# Strategies.

NUMBERS = st.integers(0, 99)
SECONDS = st.integers(1, 8)
PATIENCE = st.one_of(st.none(), SECONDS)

LEAVES: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("work"), NUMBERS),
    st.tuples(st.just("retried"), NUMBERS),
    st.tuples(st.just("sleep"), SECONDS),
    st.tuples(st.just("word"), PATIENCE),
    st.tuples(st.just("condition"), st.integers(0, 5), SECONDS),
    st.tuples(st.just("chance")),
    st.tuples(st.just("known")),
    st.tuples(st.just("describe"), NUMBERS),
    st.tuples(st.just("continue")),
    st.tuples(st.just("raise")),
).map(list)


CHILDREN: st.SearchStrategy[Step] = st.tuples(st.just("child"), NUMBERS).map(list)


def _nested(inner: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    block = st.lists(inner, max_size=3)
    several = st.lists(block, min_size=1, max_size=3)
    together = st.sampled_from(["group", "gather", "race"])
    found = st.one_of(
        st.tuples(st.sampled_from(["timeout", "wait_for"]), SECONDS, block),
        st.tuples(st.sampled_from(["shield", "catch"]), block),
        st.tuples(together, several).map(lambda given: (given[0], *given[1])),
        st.tuples(st.just("finally"), block, block),
        st.tuples(st.just("saga"), NUMBERS, block),
        st.tuples(st.just("answer"), SECONDS, block),
    )
    return found.map(list)


def _nested_with_children(inner: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    closes = st.sampled_from(["terminate", "cancel", "abandon"])
    thens = st.sampled_from(["signal", "cancel", "await", "leave"])
    started = st.tuples(st.just("start_child"), NUMBERS, closes, st.lists(inner, max_size=2), thens).map(list)
    return st.one_of(_nested(inner), started)


PROGRAMS = st.lists(st.recursive(LEAVES, _nested, max_leaves=8), min_size=1, max_size=5)
FAMILIES = st.lists(
    st.recursive(st.one_of(LEAVES, CHILDREN), _nested_with_children, max_leaves=8), min_size=1, max_size=5
)
"""Programs that start children as well: their commands to each other are read in an order that each log may choose, so
that they are compared in memory alone."""

ACTIONS = st.one_of(
    st.tuples(st.just("signal"), st.sampled_from(["bump", "later", word.name]), NUMBERS),
    st.tuples(
        st.just("update"),
        st.sampled_from(["add", "pay", token_update.name, "no-such"]),
        st.integers(-1, 99),
        st.integers(1, 4),
        st.sampled_from(["accepted", "completed"]),
    ),
    st.tuples(st.just("query"), st.sampled_from(["read", noted.name, "no-such"])),
    st.tuples(st.just("advance"), SECONDS),
    st.tuples(st.just("work"), st.integers(1, 3)),
    st.tuples(st.just("batch"), st.integers(2, 3)),
    st.tuples(st.just("cancel"), st.integers(1, 2)),
)
SCRIPTS = st.lists(ACTIONS, max_size=14)
