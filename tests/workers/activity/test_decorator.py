"""The `@activity` decorator, and activity calls (workers/activity/decorator.py)."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import warnings
from typing import Any

import pytest

from penstock.schemas.errors import BadInput
from penstock.schemas.values.retry import RetryPolicy
from penstock.workers.activity.decorator import ActivityCall, ActivityDefinition, activity


class CardDeclined(Exception):
    pass


def test_bare_decorator_keeps_the_function_and_its_metadata() -> None:
    """`@activity` without options names the activity after its function and keeps doc, name and signature."""

    @activity
    def reserve(order_id: str, sku: str) -> str:
        """Reserve it."""
        return f"{order_id}-{sku}"

    assert isinstance(reserve, ActivityDefinition)
    assert (reserve.name, reserve.__name__, reserve.__doc__) == ("reserve", "reserve", "Reserve it.")
    assert list(inspect.signature(reserve).parameters) == ["order_id", "sku"]
    assert reserve.fn("o", "s") == "o-s"
    assert (reserve.queue, reserve.timeout_ms, reserve.non_retryable) == ("default", 0, ())
    assert reserve.retry == RetryPolicy()


def test_parameters_are_kept_on_the_definition() -> None:
    """The definition has every option of the decorator."""

    @activity(
        name="charge-card",
        timeout="30s",
        retries=5,
        backoff=3.0,
        non_retryable=(CardDeclined,),
        queue="payments",
        priority="high",
    )
    async def charge(amount: float) -> str:
        return f"{amount}"

    assert (charge.name, charge.timeout_ms, charge.queue, charge.priority) == (
        "charge-card",
        30_000,
        "payments",
        "high",
    )
    assert charge.retry == RetryPolicy(retries_max=5, factor=3.0)
    assert charge.non_retryable == (CardDeclined,)
    assert charge.is_async


def test_a_call_has_input_and_options() -> None:
    """The request that a call becomes holds the activity's name, the encoded input and the options."""

    @activity(timeout="10s", queue="stock")
    def reserve(order_id: str, sku: str = "apple") -> str:
        return order_id + sku

    call = reserve("o-1", sku="pear")
    call.claim()
    request = call.request
    assert (request.activity, request.queue, request.timeout_ms) == ("reserve", "stock", 10_000)
    assert reserve.signature.decode(call.input) == ("o-1", "pear")


def test_options_change_a_copy() -> None:
    """`.options` returns a new call with the given options changed, and the first call need not be awaited any more."""

    @activity(timeout="10s", retries=2, backoff=3.0)
    def reserve(sku: str) -> str:
        return sku

    call = reserve("a")
    changed = call.options(timeout=None, retries=None, queue="other").options(backoff=["2s"])
    changed.claim()
    request = changed.request
    assert isinstance(changed, ActivityCall)
    assert (request.timeout_ms, request.queue, request.retry.retries_max) == (0, "other", -1)
    assert (request.retry.delays_ms, request.retry.factor) == ((2_000,), 1.0)
    assert (call.request.timeout_ms, call.request.queue, call.request.retry.retries_max) == (10_000, "default", 2)
    assert changed.made_at == call.made_at


def test_a_call_names_the_line_that_made_it() -> None:
    """`made_at` is the line in user code that made the call, also after `.options`."""

    @activity
    def reserve(sku: str) -> str:
        return sku

    call = reserve("a")
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
    call.claim()
    assert call.made_at == f"{__file__}:{line}"


def test_a_dropped_call_warns_and_names_its_line() -> None:
    """A call that is never awaited warns once, however often its options were changed."""

    @activity
    def reserve(sku: str) -> str:
        return sku

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reserve("a").options(timeout="1s")
        gc.collect()
    assert [str(warning.message).split(" was ")[0] for warning in caught] == ["reserve(…)"]
    assert __file__ in str(caught[0].message)


async def _await(call: Any) -> Any:
    return await call


def test_awaiting_outside_of_a_workflow_runs_async_activities_here() -> None:
    """Outside of a workflow an async activity runs on the loop that awaits it."""

    @activity
    async def where() -> int:
        return threading.get_ident()

    assert asyncio.run(_await(where())) == threading.get_ident()


def test_awaiting_outside_of_a_workflow_runs_sync_activities_in_a_thread() -> None:
    """Outside of a workflow a sync activity does not block the loop."""

    @activity
    def where() -> int:
        return threading.get_ident()

    assert asyncio.run(_await(where())) != threading.get_ident()


def test_outside_of_a_workflow_values_are_handed_over_as_they_are() -> None:
    """Outside of a workflow arguments and results are not encoded, so they keep their identity."""
    seen: list[Any] = []

    @activity
    async def same(items: list[int]) -> list[int]:
        seen.append(items)
        return items

    items = [1, 2]
    assert asyncio.run(_await(same(items))) is items
    assert seen[0] is items


def test_an_activity_raises_its_own_error_outside_of_a_workflow() -> None:
    """Outside of a workflow the activity's exception is raised unwrapped."""

    @activity
    def pay() -> None:
        raise CardDeclined("no")

    with pytest.raises(CardDeclined):
        asyncio.run(_await(pay()))


def test_wrong_arguments_fail_at_the_call() -> None:
    """Arguments that do not fit the signature raise BadInput at the call."""

    @activity
    def reserve(order_id: str, sku: str) -> str:
        return order_id + sku

    with pytest.raises(BadInput):
        reserve("only one")  # type: ignore[call-arg]
