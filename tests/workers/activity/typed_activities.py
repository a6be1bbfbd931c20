"""Activities with the types that checkers must infer; test_typing.py checks this file, which is never run."""

from __future__ import annotations

import asyncio
from typing import assert_type

from penstock.workers.activity.decorator import ActivityCall, activity


class CardDeclined(Exception): ...


@activity
def bare(order_id: str, sku: str) -> str:
    return order_id + sku


@activity
async def bare_async(order_id: str, sku: str) -> str:
    return order_id + sku


@activity(timeout="10s")
def with_options(order_id: str, sku: str = "") -> list[int]:
    return [len(order_id + sku)]


@activity(timeout="30s", retries=5, backoff=2.0, non_retryable=(CardDeclined,), queue="payments", priority="high")
async def with_options_async(amount: float) -> dict[str, int]:
    return {"amount": int(amount)}


@activity
async def nothing(order_id: str) -> None: ...


async def use() -> None:
    assert_type(bare("a", "b"), ActivityCall[str])
    assert_type(bare_async("a", sku="b"), ActivityCall[str])
    assert_type(with_options("a", sku="b"), ActivityCall[list[int]])
    assert_type(with_options_async(1.5), ActivityCall[dict[str, int]])
    assert_type(await bare("a", "b"), str)
    assert_type(await bare_async("a", "b"), str)
    assert_type(await with_options_async(1.0).options(timeout="1m", retries=None, backoff=["1s", 2]), dict[str, int])
    assert_type(await asyncio.create_task(bare("a", "b")), str)
    assert_type(await asyncio.gather(bare("a", "b"), with_options("a")), tuple[str, list[int]])
    await nothing("a")
    bare("a")  # type: ignore[call-arg]
    bare_async("a", 3)  # type: ignore[arg-type]
    with_options_async("a")  # type: ignore[arg-type]
    with_options_async(1.0).options(sku="a")  # type: ignore[call-arg]
    activity(priority="urgent")  # type: ignore[call-overload]
