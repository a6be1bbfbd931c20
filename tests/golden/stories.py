"""How the recorded histories came about: each story starts runs of flows.py on an engine and acts on them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from penstock import Run, Schedule, WorkflowError
from penstock.testing import TestEngine
from tests.golden import flows

WAIT = "30s"
Story = Callable[[TestEngine], Awaitable[object]]


async def settled(engine: TestEngine) -> None:
    """Let everything happen that can happen now."""
    await engine.skip("0s")


async def started(engine: TestEngine, call: Any, id: str, **options: Any) -> Run[Any]:
    """A run that stands at its first wait."""
    run: Run[Any] = await engine.client.start(call, id=id, **options)
    await settled(engine)
    return run


async def signalled(engine: TestEngine, run: Run[Any], *values: int) -> None:
    """Signals, one after the other."""
    for value in values:
        await run.signal(flows.go, value)
        await settled(engine)


@contextlib.asynccontextmanager
async def noted(notes: list[bool]) -> AsyncIterator[None]:
    """Code as it was before it changed."""
    notes.append(True)
    try:
        yield
    finally:
        notes.clear()


async def activities(engine: TestEngine) -> None:
    """Activities: in turn, at once, retried, failed, and completed from outside by a token."""
    flows.tokens.clear()
    run = await started(engine, flows.activities(1), "golden-activities")
    while not flows.tokens:
        await engine.skip("2s")
    await engine.client.complete(flows.tokens[0], 9)
    await run.result(WAIT)


async def timers(engine: TestEngine) -> None:
    """Timers that fire, that are cancelled, and time-outs."""
    await engine.client.execute(flows.timers(), id="golden-timers", timeout=WAIT)


async def signals(engine: TestEngine) -> None:
    """Three signals, two of them at once."""
    run = await started(engine, flows.signals(3), "golden-signals")
    await run.signal(flows.go, 1)
    await run.signal(flows.go, 2)
    await signalled(engine, run, 3)
    await run.result(WAIT)


async def children(engine: TestEngine) -> None:
    """Children with every end, and one that outlives its parent."""
    await engine.client.execute(flows.children(1), id="golden-children", timeout=WAIT)
    await signalled(engine, engine.client.get("golden-kid-that-goes-on"), 5)


async def external(engine: TestEngine) -> None:
    """A run that signals one and cancels another, which waits for its attempt to end."""
    signal_taker = await started(engine, flows.signals(1), "golden-signalled")
    stopped = await started(engine, flows.cancelled(), "golden-cancelled")
    await engine.client.execute(flows.external(4), id="golden-external", timeout=WAIT)
    await signal_taker.result(WAIT)
    with contextlib.suppress(WorkflowError):
        await stopped.result(WAIT)


async def sagas(engine: TestEngine) -> None:
    """A saga that undoes its steps."""
    with contextlib.suppress(WorkflowError):
        await engine.client.execute(flows.saga(2), id="golden-saga", timeout=WAIT)


async def classes(engine: TestEngine) -> None:
    """A workflow class: updates that are accepted, refused and awaited, a query, and a signal."""
    run = await started(engine, flows.Account(1), "golden-account")
    await run.update(flows.Account.deposit, 5)
    with contextlib.suppress(Exception):
        await run.update(flows.Account.deposit, 0)
    await run.query(flows.Account.now)
    await run.signal(flows.Account.close, 2)
    await run.result(WAIT)


async def updates(engine: TestEngine) -> None:
    """Updates of a function, one before its handler is there, one that fails."""
    run = await started(engine, flows.updates(), "golden-updates")
    held = asyncio.ensure_future(run.update(flows.add_to, 3))  # held until its handler is there
    while not (await run.describe())["open_updates"]:
        await settled(engine)
    await engine.skip("10s")
    await held
    await run.update(flows.add_to, 4)
    with contextlib.suppress(Exception):
        await run.update(flows.add_to, 500)
    await signalled(engine, run, 0)
    await run.result(WAIT)


async def chains(engine: TestEngine) -> None:
    """A chain of three runs, whose signal came early; and the retries of a workflow."""
    run = await started(engine, flows.chain(2), "golden-chain")
    await run.signal(flows.go, 4)
    await run.result(WAIT)
    with contextlib.suppress(WorkflowError):
        await engine.client.execute(flows.kid(-1), id="golden-retries", retries=1, backoff=["1s"], timeout=WAIT)


async def patches(engine: TestEngine) -> None:
    """Code before and after a patch, and before its deprecation; one run of each is open."""
    async with noted(flows.before_the_change):
        for call, name in ((flows.patched_later, "unpatched"), (flows.deprecated_later, "deprecated")):
            closed = await started(engine, call(1), f"golden-{name}")
            await signalled(engine, closed, 1)
            await started(engine, call(1), f"golden-{name}-open")
    closed = await started(engine, flows.patched_later(1), "golden-patched")
    await signalled(engine, closed, 1)
    await started(engine, flows.patched_later(1), "golden-patched-open")


async def scheduled(engine: TestEngine) -> None:
    """Runs that a schedule started by its ticks, and by hand."""
    schedule = await engine.client.schedules.create("golden", flows.ticked(1), Schedule(every="1h"))
    await engine.skip("2h")
    await schedule.trigger()
    await settled(engine)
    await schedule.delete()


async def resets(engine: TestEngine) -> None:
    """A run that was reset while it was open, and again after it had closed; and one that began anew."""
    run = await started(engine, flows.steps(1), "golden-reset")
    cut = len(await run.history())
    await signalled(engine, run, 1)
    await run.reset(to_event=cut, reason="another look", by="ann")
    await signalled(engine, run, 2)
    await run.result(WAIT)
    await run.reset(to_event=cut, reason="and another")
    await settled(engine)
    await run.reset(to_event=0, reason="anew")
    await settled(engine)


async def halts(engine: TestEngine) -> None:
    """Runs that were paused and resumed, BLOCKED and unblocked, and retried after a failure."""
    run = await started(engine, flows.steps(1), "golden-paused")
    await run.pause("stock-taking", by="ann")
    await signalled(engine, run, 1, 2)
    await run.resume("done")
    await run.result(WAIT)
    async with noted(flows.bugs):
        bug = await started(engine, flows.unlucky(1), "golden-blocked")
        await settled(engine)
    await bug.unblock("mended")
    await bug.result(WAIT)
    failed = await started(engine, flows.steps(-1), "golden-retried")
    with contextlib.suppress(WorkflowError):
        await failed.result(WAIT)
    await failed.retry("once more")
    await settled(engine)


async def skips(engine: TestEngine) -> None:
    """An activity that was given its result by hand; it ended nowhere."""
    flows.tokens.clear()
    run = await started(engine, flows.activities(1), "golden-skipped")
    while not flows.tokens:
        await engine.skip("2s")
    await run.skip("golden-outside", 3, reason="by hand")
    await run.result(WAIT)


async def chances(engine: TestEngine) -> None:
    """Time, chance, side effects, details and search attributes."""
    await engine.client.execute(flows.chance(), id="golden-chance", memo={"note": "x"}, timeout=WAIT)


async def versions(engine: TestEngine) -> None:
    """Runs of two versions of a type, closed and open."""
    for version in (1, 2):
        run = await started(engine, flows.second_version(1), f"golden-version-{version}", version=version)
        await signalled(engine, run, 1)
        await started(engine, flows.second_version(1), f"golden-version-{version}-open", version=version)


async def ends(engine: TestEngine) -> None:
    """Runs that began late, that were stopped from outside, and that took too long."""
    late = await started(engine, flows.steps(1), "golden-delayed", start_delay="1h")
    await signalled(engine, late, 1, 2)
    await engine.skip("1h")
    await (await started(engine, flows.late(), "golden-terminated")).terminate("enough")
    stopped = await started(engine, flows.late(), "golden-stopped")
    await stopped.cancel("enough")
    await started(engine, flows.late(), "golden-timed-out", run_timeout="5s")
    await engine.skip("1m")


STORIES: tuple[Story, ...] = (
    activities, timers, signals, children, external, sagas, classes, updates, chains, patches, scheduled, resets, halts,
    skips, chances, versions, ends,
)  # fmt: skip
