"""Workflows that the engine's tests run: small ones, each showing one feature."""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.engine.authoring.context import now, random, side_effect, uuid4
from penstock.engine.authoring.external import get_run
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.versions import patched
from penstock.engine.authoring.waiting import sleep, wait_condition
from penstock.engine.authoring.workflow import workflow
from penstock.patterns.saga import Saga
from penstock.schemas.errors import ActivityFailedError, ChildWorkflowFailed, WorkflowFailedError
from penstock.workers.activity.decorator import activity

go = Signal("go")
word = Signal("word")
price = Signal("price", int)


class Refused(Exception):
    """Error that an activity raises."""


@activity
def add(a: int, b: int) -> int:
    return a + b


@activity(retries=2, backoff=2.0)
def shaky(n: int) -> int:
    return n


@activity(queue="elsewhere")
def far(n: int) -> int:
    return n


@activity
def book_place(name: str) -> str:
    return name


@activity
def unbook_place(name: str) -> None: ...


@activity(heartbeat="10s", schedule_to_close="60s", backoff=["1s", "10s", "1h"], cancel="wait")
def scan() -> int:
    return 1


@workflow
async def scanned() -> int:
    return await scan()


@workflow
async def five(n: int) -> int:
    for step in range(5):
        n = await add(n, step)
    return n


@workflow
async def fan(n: int) -> list[int]:
    return list(await asyncio.gather(*(add(i, 1) for i in range(n))))


@workflow
async def grouped(n: int) -> int:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(add(i, i)) for i in range(n)]
    return sum(task.result() for task in tasks)


@workflow
async def sleeper(seconds: float) -> str:
    before = now()
    await sleep(seconds)
    return str((now() - before).total_seconds())


@workflow
async def approved() -> str:
    try:
        return f"paid {await price.wait(timeout='1h')}"
    except TimeoutError:
        return "no answer"


@workflow
async def makes_its_signal() -> int:
    return await Signal("made-inside", int).wait()


@workflow
async def looks_again() -> int:
    while True:
        try:
            return await price.wait(timeout="1h")
        except TimeoutError:
            continue


@workflow
async def retried(n: int) -> str:
    try:
        return str(await shaky(n))
    except ActivityFailedError as error:
        return f"{error.type.rsplit('.', 1)[-1]} after {error.attempts}"


@workflow
async def failing(n: int) -> None:
    raise WorkflowFailedError(f"rejected {n}")


@workflow
async def broken(n: int) -> None:
    raise KeyError(n)


@workflow
async def travel(names: list[str]) -> str:
    async with Saga() as saga:
        for name in names:
            await saga.do(book_place(name), undo=unbook_place(name))
        await go.wait()
    return "travelled"


@workflow
async def travel_together(names: list[str]) -> str:
    async with Saga() as saga:
        await asyncio.gather(*(saga.do(book_place(name), undo=unbook_place(name)) for name in names))
    return "travelled"


@workflow
async def parent(id: str) -> str:
    try:
        return f"child said {await five(1).options(id=id)}"
    except ChildWorkflowFailed as error:
        return f"child failed: {error.message}"


@workflow
async def forgetful() -> None:
    add(1, 2)
    await sleep(1)


@workflow
async def forgets_a_wait(which: str) -> None:
    match which:
        case "sleep":
            sleep("1h")
        case "wait_condition":
            wait_condition(lambda: False)
        case "go.wait":
            go.wait(timeout="1h")
    await add(1, 2)


@workflow
async def approves_blindly(which: str) -> str:
    if go.wait(timeout="1h") if which == "go.wait" else add(1, 2):
        return "approved"
    return "refused"


@workflow
async def hands_over(what: str) -> Any:
    """Use of what was not awaited as if it were its outcome."""
    match what:
        case "call":
            call = add(1, 2)
            return call
        case "nested":
            return {"sums": [add(1, 2)]}
        case "argument":
            return await add(add(1, 2), 3)  # type: ignore[arg-type]
        case "wait":
            return sleep("1h")
    return None


@workflow
async def mistakes_a_saga(what: str) -> None:
    saga = Saga()
    if what != "not entered":
        await saga.__aenter__()
    match what:
        case "definition":
            await saga.do(book_place, undo=unbook_place("a"))  # type: ignore[arg-type]
        case "undo":
            await saga.do(book_place("a"), undo=unbook_place)  # type: ignore[arg-type]
        case "nothing":
            await saga.do(None)  # type: ignore[arg-type]
        case _:
            await saga.do(book_place("a"), undo=unbook_place("a"))


@workflow
async def waits_by_asyncio(signal_s: float) -> list[Any]:
    """Waits in all places of asyncio that take a coroutine, begun at once or later."""
    seen: list[str] = []
    task = asyncio.create_task(go.wait(timeout="1h"))
    try:
        await asyncio.wait_for(word.wait(), signal_s)
    except TimeoutError:
        seen.append("no signal")
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(sleep(1))
        group.create_task(wait_condition(lambda: bool(seen)))
    await asyncio.gather(sleep(1), asyncio.shield(sleep(2)))
    return [*seen, await task, now().timestamp()]


@workflow
async def far_away(n: int) -> int:
    return await far(n)


@workflow
async def conditional() -> int:
    total = 0

    async def collect() -> None:
        nonlocal total
        while True:
            total += await price.wait()

    collector = asyncio.create_task(collect())
    await wait_condition(lambda: total >= 10)
    collector.cancel()
    return total


@workflow
async def chancy() -> list[Any]:
    first = [random().random(), str(uuid4()), side_effect(lambda: 42)]
    await go.wait()
    return [*first, random().random(), str(uuid4())]


@workflow
async def first_of(n: int) -> int:
    tasks = [asyncio.create_task(add(i, 0)) for i in range(n)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return next(iter(done)).result()


@workflow
async def teller(id: str) -> None:
    get_run(id).signal(price, 7)


@workflow
async def patchy() -> str:
    await go.wait()
    return "new" if patched("greet") else "old"


@workflow
async def cleaner() -> None:
    try:
        await go.wait()
    finally:
        await unbook_place("room")


@workflow
async def endless() -> None:
    while True:
        await asyncio.sleep(0)
