"""Result records of attempts (workers/execution/results.py)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from penstock.schemas.records.tasks import TaskCompleted
from penstock.workers.activity.decorator import activity
from tests.workers.execution.executor_bench import Bench, failure_of, one, task_of


class CardDeclined(Exception):
    pass


class CardStolen(CardDeclined):
    pass


@pytest.mark.parametrize(
    ("error", "expected"), [(CardDeclined, True), (CardStolen, True), (TimeoutError, False), (OSError, False)]
)
def test_non_retryable_is_judged_by_class(error: type[Exception], expected: bool) -> None:
    """An instance of a listed class, or of a subclass, is a non-retryable failure."""

    @activity(non_retryable=(CardDeclined,))
    async def pay() -> None:
        raise error("no")

    assert failure_of(one(pay)).non_retryable is expected


def test_a_timeout_can_be_declared_not_retryable() -> None:
    """Listing TimeoutError among the non-retryable errors ends the activity at its first timeout."""

    @activity(non_retryable=(TimeoutError,))
    async def slow() -> None:
        await asyncio.sleep(60)

    assert failure_of(one(slow, timeout_ms=10)).non_retryable


def test_a_value_that_cannot_be_encoded_is_not_retried() -> None:
    """A value without a JSON form is a non-retryable failure that names the activity and the type."""

    @activity
    async def broken() -> Any:
        return object()

    failure = failure_of(one(broken))
    assert failure.non_retryable
    assert "broken" in failure.message
    assert "object" in failure.message


def test_a_value_that_is_too_large_is_not_retried() -> None:
    """A result over the limit is a non-retryable failure that names size and limit; one at the limit passes."""

    @activity
    async def text(length: int) -> str:
        return "x" * length

    fits, over = Bench(text, result_bytes_max=102).run(task_of(text, 100), task_of(text, 101))
    assert isinstance(fits, TaskCompleted)
    failure = failure_of(over)
    assert failure.non_retryable
    assert failure.type == "penstock.schemas.errors.PayloadTooLarge"
    assert "103" in failure.message
    assert "102" in failure.message


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[Any]]:
    caplog.set_level(logging.DEBUG)  # another test may have routed structlog through logging, whose level then applies
    with capture_logs() as captured:
        yield captured


def test_failures_are_logged_with_their_ids(lines: list[Any]) -> None:
    """A failure logs one warning with workflow id, run id, activity and attempt; a completion logs a debug line."""

    @activity
    async def fine() -> None: ...

    @activity
    async def pay() -> None:
        raise CardDeclined("no")

    Bench(fine, pay).run(task_of(fine), task_of(pay, attempt=3))
    (warning,) = [line for line in lines if line["log_level"] == "warning"]
    assert (warning["workflow_id"], warning["run_id"], warning["activity"], warning["attempt"]) == (
        "order-1",
        "run-1",
        "pay",
        3,
    )
    completed = [line for line in lines if line["event"] == "activity completed"]
    assert [(line["log_level"], line["activity"]) for line in completed] == [("debug", "fine")]
