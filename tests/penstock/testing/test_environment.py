"""Tests of ActivityEnvironment."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock import activity, activity_info, heartbeat, heartbeat_details
from penstock.schemas.errors import ActivityCancelledError, BadInput, NotInActivity
from penstock.testing import ActivityEnvironment

cleaned: list[str] = []


@activity(name="environment-key", timeout="30s")
def key(prefix: str) -> str:
    info = activity_info()
    return f"{prefix}{info.idempotency_key} {info.attempt} {info.queue} {info.headers.get('tenant')}"


@activity(name="environment-left", timeout="30s", queue="slow")
def left() -> float:
    deadline = activity_info().deadline
    assert deadline is not None
    return (deadline - datetime.now(UTC)).total_seconds()


@activity(name="environment-later")
async def later(number: int) -> int:
    await asyncio.sleep(0)
    return number + activity_info().attempt


@activity(name="environment-waits")
async def waits() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        cleaned.append("up")


@activity(name="environment-fails")
def fails() -> None:
    raise ConnectionError("not there")


@activity(name="environment-lies")
def lies() -> int:
    value: Any = "seven"
    return value


@activity(name="environment-beats")
def beats() -> int:
    first = heartbeat_details(int, 0)
    for page in range(first, first + 2):
        heartbeat(page)
    return first


@activity(name="environment-thread")
def thread() -> str:
    return threading.current_thread().name


def test_what_an_activity_is_informed_of() -> None:
    """activity_info() answers with the environment's fields, and with the activity's queue by default."""
    environment = ActivityEnvironment(
        workflow_id="o-1", seed="s", sequence=7, attempt=3, queue="q", headers={"tenant": "t"}
    )
    assert environment.run(key, "key ") == "key o-1/s/7 3 q t"
    assert ActivityEnvironment().run(key, prefix="") == "test/seed/1 1 default None"


@pytest.mark.parametrize(("timeout", "most_s"), [(None, 30.0), (timedelta(hours=1), 3600.0)])
def test_the_deadline(timeout: Any, most_s: float) -> None:
    """The deadline is that of the activity, or of the environment."""
    assert most_s - 20 < ActivityEnvironment(timeout=timeout).run(left) <= most_s


def test_an_async_activity() -> None:
    """An async activity runs on a loop of its own, or on the caller's."""
    environment = ActivityEnvironment(attempt=2)
    assert environment.run(later, 5) == 7
    assert asyncio.run(environment.run_async(later, 5)) == 7


def test_a_sync_activity_leaves_the_loop_free() -> None:
    """With run_async a sync activity runs in a thread."""
    assert asyncio.run(ActivityEnvironment().run_async(thread)) != threading.current_thread().name


def test_cancellation() -> None:
    """cancel() cancels an async activity, which may clean up."""

    async def use() -> None:
        environment = ActivityEnvironment()
        running = asyncio.create_task(environment.run_async(waits))
        await asyncio.sleep(0.01)
        environment.cancel()
        await running

    cleaned.clear()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(use())
    assert cleaned == ["up"]


def test_cancellation_of_a_sync_activity() -> None:
    """After cancel() the next heartbeat of a sync activity raises, and its info says so."""
    seen: list[bool] = []

    @activity(name="environment-beats-on")
    def beats_on() -> None:
        for _ in range(1_000):
            try:
                heartbeat()
            except ActivityCancelledError:
                seen.append(activity_info().cancelled)
                raise
            time.sleep(0.01)

    async def use() -> None:
        environment = ActivityEnvironment()
        running = asyncio.create_task(environment.run_async(beats_on))
        while not environment.heartbeats:
            await asyncio.sleep(0.01)
        environment.cancel()
        await running

    with pytest.raises(ActivityCancelledError, match="environment-beats-on"):
        asyncio.run(use())
    assert seen == [True]


def test_heartbeats() -> None:
    """The details of heartbeats are kept, and those of an earlier attempt are given."""
    environment = ActivityEnvironment(heartbeat_details=5)
    assert environment.run(beats) == 5
    assert environment.heartbeats == [5, 6]
    assert ActivityEnvironment().run(beats) == 0


def test_errors_pass() -> None:
    """What the activity raises is raised; values that do not fit are refused as by a worker."""
    environment = ActivityEnvironment()
    with pytest.raises(ConnectionError, match="not there"):
        environment.run(fails)
    with pytest.raises(BadInput, match="The result of environment-lies does not fit int"):
        environment.run(lies)
    with pytest.raises(BadInput):
        environment.run(later, "many")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="no activity runs"):
        environment.cancel()


def test_nothing_is_left_behind() -> None:
    """After the call activity_info() raises again."""
    ActivityEnvironment().run(key, "")
    with pytest.raises(NotInActivity):
        activity_info()
