"""Workflows whose recorded histories every later release must replay (histories/RELEASE).

Functions are only ever added: a history of each has been recorded, and this code must repeat it in every later release.
`before_the_change` is set while histories are recorded of code that has changed since."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from penstock import (
    ActivityFailedError,
    ChildWorkflowFailed,
    CompleteLater,
    Query,
    Saga,
    Signal,
    Update,
    activity,
    activity_info,
    continue_as_new,
    deprecate_patch,
    details,
    get_run,
    heartbeat,
    now,
    patched,
    publish,
    random,
    set_search,
    side_effect,
    sleep,
    start_child,
    uuid4,
    wait_condition,
    workflow,
)

go = Signal("golden-go", int)
total_of = Query("golden-total", int)
add_to = Update("golden-add", int, int)
before_the_change: list[bool] = []
tokens: list[str] = []
bugs: list[bool] = []


@activity(name="golden-double", retries=0)
def double(number: int) -> int:
    """Double a number; refuse a negative one."""
    if number < 0:
        raise ValueError("too small")
    return 2 * number


@activity(name="golden-flaky", retries=3, backoff=["1s"])
def flaky(number: int) -> int:
    """Fail twice."""
    heartbeat(number)
    if activity_info().attempt < 3:
        raise ConnectionError("not yet")
    return number


@activity(name="golden-outside")
def outside() -> int:
    """End elsewhere."""
    tokens.append(activity_info().token)
    raise CompleteLater


@activity(name="golden-idle", cancel="wait")
async def idle() -> int:
    """Wait until it is cancelled."""
    await asyncio.Event().wait()
    return 0


@workflow(name="golden-activities")
async def activities(number: int) -> list[int]:
    """One after the other, several at once, retried, failed, and ended elsewhere."""
    found = [await double(number), *await asyncio.gather(*(double(one) for one in range(3)))]
    try:
        await double(-1)
    except ActivityFailedError:
        found.append(-1)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(flaky(one)) for one in (4, 5)]
    return [*found, *(task.result() for task in tasks), await outside()]


@workflow(name="golden-timers")
async def timers() -> list[str]:
    """Sleeps, one that is given up, an activity that is given up, and time-outs of asyncio and of a wait."""
    seen = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3):
            await outside()
    await sleep("2s")
    try:
        async with asyncio.timeout(3):
            await sleep("1h")
    except TimeoutError:
        seen.append("asyncio")
    try:
        await wait_condition(lambda: False, timeout="5s")
    except TimeoutError:
        seen.append("condition")
    try:
        await go.wait(timeout="1m")
    except TimeoutError:
        seen.append("signal")
    return seen


@workflow(name="golden-signals")
async def signals(wanted: int) -> list[int]:
    """Signals one by one, while a task of its own waits for each."""
    found: list[int] = []

    async def collect() -> None:
        while len(found) < wanted:
            found.append(await go.wait())

    collecting = asyncio.ensure_future(collect())
    await wait_condition(lambda: len(found) == wanted)
    await collecting
    return found


@workflow(name="golden-child")
async def kid(number: int) -> int:
    """Wait for a signal; fail for a negative number."""
    if number < 0:
        raise ValueError("a child that fails")
    return await double(number) + await go.wait()


@workflow(name="golden-children")
async def children(number: int) -> list[int]:
    """A child with a handle, one that fails, one that is stopped at the end, and one that goes on."""
    handle = await start_child(kid(number), id="golden-kid")
    handle.signal(go, 1)
    found = [await handle.result()]
    try:
        await kid(-1).options(id="golden-kid-that-fails")
    except ChildWorkflowFailed:
        found.append(-1)
    await start_child(kid(1), id="golden-kid-that-is-stopped", parent_close="terminate")
    await start_child(kid(2), id="golden-kid-that-goes-on", parent_close="abandon")
    given_up = asyncio.ensure_future(kid(3).options(id="golden-kid-that-is-given-up"))
    await sleep("1s")
    given_up.cancel()
    await asyncio.wait([given_up])
    return found


@workflow(name="golden-external")
async def external(number: int) -> None:
    """Signal another run, and stop a third."""
    get_run("golden-signalled").signal(go, number)
    get_run("golden-cancelled").cancel("no longer needed")


@workflow(name="golden-cancelled")
async def cancelled() -> int:
    """Clean up after a request to stop, while an attempt ends."""
    try:
        return await idle()
    finally:
        await asyncio.shield(double(1))


@workflow(name="golden-saga")
async def saga(number: int) -> int:
    """Undo what was done, once a child has ended that is stopped."""
    async with Saga() as steps:
        await asyncio.gather(*(steps.do(double(one), undo=double(one + 10)) for one in range(number)))
        waits, fails = steps.do(kid(1), undo=double(99)), steps.do(double(-1))
        return sum(await asyncio.gather(waits, fails))


@workflow(name="golden-class")
class Account:
    """Signals, queries and updates of a class, one of which awaits an activity."""

    def __init__(self, opened_with: int) -> None:
        self.balance, self.closed = opened_with, False

    @workflow.run
    async def run(self) -> int:
        """Wait until it is closed."""
        await wait_condition(lambda: self.closed)
        return self.balance

    @workflow.signal
    async def close(self, fee: int) -> None:
        """Take a fee and close."""
        await sleep("1s")
        self.balance -= fee
        self.closed = True

    @workflow.query
    def now(self) -> int:
        """The balance."""
        return self.balance

    @workflow.update
    async def deposit(self, amount: int) -> int:
        """Deposit twice the amount."""
        self.balance += await double(amount)
        return self.balance

    @deposit.validator
    def check(self, amount: int) -> None:
        """Refuse nothing."""
        if amount == 0:
            raise ValueError("nothing to deposit")


@workflow(name="golden-updates")
async def updates() -> int:
    """Updates of the function form, one of which fails."""
    total = 0

    def add(number: int) -> int:
        nonlocal total
        if number > 100:
            raise ValueError("too much")
        total += number
        return total

    total_of.answer(lambda: total)
    await sleep("10s")
    async with add_to.answer(add):
        await go.wait()
    return total


@workflow(name="golden-chain")
async def chain(rounds: int) -> int:
    """A chain of runs that hands a signal on."""
    await sleep("1s")
    if rounds > 0:
        continue_as_new(chain(rounds - 1))
    return await go.wait()


@workflow(name="golden-patched")
async def patched_later(number: int) -> int:
    """Code that a patch has changed since some runs passed it."""
    if not before_the_change and patched("golden-patch"):
        number = await double(number)
    await go.wait()
    return await double(number)


@workflow(name="golden-deprecated")
async def deprecated_later(number: int) -> int:
    """Code whose patch has been deprecated since some runs passed it."""
    if before_the_change:
        assert patched("golden-deprecated-patch")
    else:
        deprecate_patch("golden-deprecated-patch")
    return await double(number) + await go.wait()


@workflow(name="golden-ticked")
async def ticked(number: int) -> int:
    """What a schedule starts."""
    return await double(number)


@workflow(name="golden-steps")
async def steps(number: int) -> int:
    """Three steps with a wait between them: reset, paused, skipped and retried runs go through it."""
    first = await double(number)
    second = await double(first + await go.wait())
    return await double(second + await go.wait())


@workflow(name="golden-unlucky")
async def unlucky(number: int) -> int:
    """A bug that is mended while the run is BLOCKED."""
    result: Any = await double(number)
    return int(result.missing if bugs else result)


@workflow(name="golden-chance")
async def chance() -> list[str]:
    """Time, chance and identity, what code computes once, and what it says to others."""
    found = [now().isoformat(), str(random().random()), str(uuid4())]
    found.append(str(side_effect(lambda: 7)))
    try:
        side_effect(lambda: 1 // 0)
    except Exception as error:
        found.append(str(error))
    details({"step": 1})
    set_search(customer="ann", total=3)
    publish("golden-published", key="ann", value={"step": 1})
    await sleep("1s")
    return [*found, str(random().random()), str(uuid4()), now().isoformat()]


@workflow(name="golden-versions", version=1)
async def first_version(number: int) -> int:
    """The version of runs that began before the next one."""
    return await double(number) + await go.wait()


@workflow(name="golden-versions", version=2)
async def second_version(number: int) -> int:
    """The version of new runs."""
    return await go.wait() + await double(number) + await double(number)


@workflow(name="golden-late")
async def late() -> None:
    """Wait for ever."""
    await asyncio.Event().wait()
