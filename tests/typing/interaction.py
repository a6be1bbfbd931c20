"""Types of the parts of the API by which runs are talked to, as mypy and pyright see them. Nothing here runs.

As in public_face.py, a line that must be refused has an ignore comment with the code of its error.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import assert_type

from penstock import (
    Client,
    Info,
    Query,
    Run,
    SyncClient,
    Update,
    UpdateHandle,
    continue_as_new,
    info,
    logger,
    workflow,
)


@workflow
class Claim:
    def __init__(self, form: str) -> None:
        self.form = form

    @workflow.run
    async def run(self) -> int:
        if self.form:
            continue_as_new(Claim("x"))
        return 1

    @workflow.signal
    def add(self, receipt: str) -> None: ...
    @workflow.signal
    async def add_later(self, receipt: str, n: int) -> None: ...
    @workflow.signal(name="other")
    def named(self) -> None: ...
    @workflow.query
    def status(self) -> str:
        return ""

    @workflow.query(name="o")
    def over(self, limit: int) -> bool:
        return True

    @workflow.update
    async def amend(self, amount: Decimal) -> Decimal:
        return amount

    @amend.validator
    def _check(self, amount: Decimal) -> None: ...
    @workflow.update
    def sync(self) -> int:
        return 1

    @workflow.update(name="four")
    async def four(self, a: int, b: str, c: float, d: bool) -> list[int]:
        return []

    @workflow.update(name="syncnamed")
    def sn(self, a: int) -> str:
        return ""


stage = Query("stage", str)
rename = Update("rename", str, int)
close = Update("close")
count = Update("count", returns=int)


@workflow
@dataclass(frozen=True)
class Frozen:
    name: str

    @workflow.run
    async def run(self) -> bytes:
        return b""


@workflow
async def onboarding(name: str) -> None:
    """The tokens of a function take handlers of their types, sync and async."""

    async def later(new: str) -> int:
        return len(new)

    stage.answer(lambda: name)
    stage.answer(lambda: 7)  # type: ignore[arg-type, return-value]
    rename.answer(len, validator=lambda new: None)
    async with rename.answer(later):
        count.answer(lambda: 7)
        close.answer(lambda: None)
    rename.answer(lambda new: new)  # type: ignore[arg-type, return-value]
    assert_type(info(), Info)
    logger.bind(name=name).info("began", length=len(name))
    continue_as_new(onboarding(name))


async def use(client: Client) -> None:
    """An object of a class has the type of its `run`; queries and updates that of their methods' results."""
    run = await client.start(Claim("form"), id="x")
    assert_type(run, Run[int])
    assert_type(await run.query(Claim.status), str)
    assert_type(await run.query(Claim.over, 3), bool)
    assert_type(await run.query(stage), str)
    assert_type(await run.update(Claim.amend, Decimal(1), id="a"), Decimal)
    assert_type(await run.update(Claim.sync), int)
    assert_type(await run.update(Claim.four, 1, "b", 1.5, True), list[int])
    assert_type(await run.update(Claim.sn, 1), str)
    assert_type(await run.update(rename, "x"), int)
    handle = await run.start_update(Claim.amend, Decimal(1))
    assert_type(handle, UpdateHandle[Decimal])
    assert_type(await handle.result(), Decimal)
    await run.signal(Claim.add, "x")
    await run.signal(Claim.add_later, "x", 1)
    await run.signal(Claim.named)
    assert_type(await client.execute(Claim("x")), int)
    assert_type(await client.signal_with_start(Claim.add, "x", Claim("a")), Run[int])
    assert_type(await client.update_with_start(Claim.amend, Decimal(1), Claim("a")), Decimal)
    assert_type(await client.update_with_start(rename, "x", Claim("a")), int)
    assert_type(await client.versions.set(Claim, 2, "10%", reason="canary"), str)
    await client.versions.set("Claim", 2, None)
    await client.versions.set(Claim, 2, [10])  # type: ignore[arg-type]
    await run.update(Claim.amend, "1")  # type: ignore[arg-type]
    await run.query(Claim.over)  # type: ignore[arg-type]
    await run.signal(Claim.add, 7)  # type: ignore[arg-type]


def use_without_asyncio(client: SyncClient) -> None:
    """The same without asyncio."""
    run = client.start(Claim("form"), id="x", start_delay="1h", run_timeout=3600, retries=2)
    assert_type(run.query(Claim.status), str)
    assert_type(run.update(Claim.amend, Decimal(1), id="a"), Decimal)
    assert_type(client.execute(Frozen("ann")), bytes)
    assert_type(client.versions.set(Claim, 2, 0.1), str)


async def inside(claim: Claim) -> None:
    """In the run itself a handler is the plain method: an async one is awaited."""
    assert_type(await claim.amend(Decimal(1)), Decimal)
    assert_type(claim.sync(), int)
    assert_type(claim.status(), str)
    claim.add("x")
    await claim.add_later("x", 1)
