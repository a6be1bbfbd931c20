"""Conversion of exceptions into failures (workers/execution/failures.py)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.schemas.encoding.codec import decode, encode
from penstock.workers.activity.decorator import AnyActivity, activity
from penstock.workers.execution.failures import CAUSES_MAX, MESSAGE_CHARACTERS_MAX, TRACEBACK_CHARACTERS_MAX
from tests.workers.execution.executor_bench import failure_of, one


class CardDeclined(Exception):
    pass


@pytest.mark.parametrize("sync", [True, False])
def test_an_exception_becomes_a_readable_failure(sync: bool) -> None:
    """A failure has type, message, causes and the traceback of user code, without the worker's own frames."""

    def work() -> None:
        try:
            int("x")
        except ValueError as error:
            raise LookupError("no such order") from error

    async def work_async() -> None:
        work()

    failure = failure_of(one(activity(name="work")(work if sync else work_async), attempt=4))
    assert (failure.type, failure.message, failure.kind) == ("LookupError", "no such order", "error")
    assert (failure.attempts, failure.non_retryable) == (4, False)
    assert [(cause.type, cause.message[:7]) for cause in failure.causes] == [("ValueError", "invalid")]
    assert "in work" in failure.traceback
    assert '/executor.py"' not in failure.traceback
    assert '/attempt.py"' not in failure.traceback
    assert '/threads.py"' not in failure.traceback


@pytest.mark.parametrize("sync", [True, False])
def test_the_workers_own_frames_are_omitted(sync: bool) -> None:
    """If no frame is user code, the traceback has the frames of Penstock's code that the worker called, not its own."""
    scope: dict[str, Any] = {"__name__": "penstock.made_up"}
    exec("def work(): raise LookupError('inside')\nasync def work_async(): work()", scope)
    definition: AnyActivity = activity(name="inside")(scope["work" if sync else "work_async"])
    traceback = failure_of(one(definition)).traceback
    assert "in work" in traceback
    assert '/executor.py"' not in traceback
    assert '/attempt.py"' not in traceback
    assert '/threads.py"' not in traceback


def test_members_of_a_group_are_causes() -> None:
    """The exceptions of an activity's TaskGroup are causes of its failure."""

    async def decline() -> None:
        raise CardDeclined("no funds")

    @activity
    async def pay() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(decline())

    (cause,) = failure_of(one(pay)).causes
    assert (cause.type, cause.message) == (f"{__name__}.CardDeclined", "no funds")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def _endless_causes() -> BaseException:
    error: BaseException = ValueError("first")
    for number in range(50):
        following = ValueError(f"number {number}")
        following.__cause__ = error
        error = following
    return error


@pytest.mark.parametrize(
    "error",
    [Unprintable(), ValueError("x" * 1_000_000), ValueError("\ud800"), _endless_causes()],
    ids=["unprintable", "long", "surrogate", "causes"],
)
def test_any_failure_fits_a_record(error: Exception) -> None:
    """However long, deep or unprintable an exception is, its failure is bounded and can be encoded."""

    @activity
    async def work() -> None:
        raise error

    result = one(work)
    failure = failure_of(result)
    assert len(failure.message) <= MESSAGE_CHARACTERS_MAX
    assert len(failure.traceback) <= TRACEBACK_CHARACTERS_MAX
    assert len(failure.causes) <= CAUSES_MAX
    assert decode(encode(result)) == result
