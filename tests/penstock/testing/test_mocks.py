"""Tests of mocks: what they replace, and the types that are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from unittest.mock import AsyncMock, Mock

import pytest
from pydantic import BaseModel

from penstock import ActivityFailedError, WorkflowFailedError, activity, sleep, workflow
from penstock.schemas.errors import BadInput, UserError
from penstock.testing import TestEngine

R = TypeVar("R")


class Order(BaseModel):
    id: str
    total: float


class Receipt(BaseModel):
    number: int


class Declined(Exception):
    """The card was declined."""


@activity(name="mock-charge", retries=0)
def charge(order: Order, currency: str) -> Receipt:
    raise AssertionError("no test charges a card")


@activity(name="mock-note")
async def note(text: str) -> None:
    raise AssertionError("no test notes anything")


@workflow(name="mock-ship")
async def ship(order: Order) -> str:
    await sleep("3d")
    raise AssertionError("no test ships anything")


@workflow(name="mock-fulfil")
async def fulfil(order: Order) -> list[Any]:
    receipt = await charge(order, "EUR")
    await note(f"paid {receipt.number}")
    return [receipt.number, await ship(order)]


@workflow(name="mock-tolerant")
async def tolerant(order: Order) -> str:
    try:
        await charge(order, "EUR")
    except ActivityFailedError as error:
        return f"{error.is_(Declined)}: {error.message}"
    return "paid"


ORDER = Order(id="o-1", total=12.5)
ALL = (fulfil, tolerant, ship, charge, note)


def with_engine(use: Callable[[TestEngine], Awaitable[R]], *hosted: Any) -> R:
    async def inside() -> R:
        async with TestEngine(*hosted) as engine:
            return await asyncio.wait_for(use(engine), 60)

    return asyncio.run(inside())


def charged(order: Order, currency: str) -> Receipt:
    return Receipt(number=int(order.total) if currency == "EUR" else 0)


@pytest.mark.parametrize(
    "by",
    [
        Receipt(number=12),
        {"number": 12},
        charged,
        lambda *_: Receipt(number=12),
        Mock(return_value=Receipt(number=12)),
        AsyncMock(return_value=Receipt(number=12)),
    ],
    ids=["value", "JSON", "function", "lambda", "Mock", "AsyncMock"],
)
def test_what_may_take_the_place_of_an_activity(by: Any) -> None:
    """Values, functions and unittest's mocks answer for activities, and values for children."""

    async def use(engine: TestEngine) -> list[Any]:
        engine.mock(charge, by)
        engine.mock(note, None)
        engine.mock(ship, "track-1")
        return await engine.client.execute(fulfil(ORDER), id="x")

    assert with_engine(use, *ALL) == [12, "track-1"]


def test_a_child_is_answered_by_a_function() -> None:
    """The function that takes the place of a child is workflow code: it may sleep."""

    async def shipped(order: Order) -> str:
        await sleep("1d")
        return f"track-{order.id}"

    async def use(engine: TestEngine) -> list[Any]:
        for target, by in ((charge, Receipt(number=1)), (note, None), (ship, shipped)):
            engine.mock(target, by)
        return await engine.client.execute(fulfil(ORDER), id="x")

    assert with_engine(use, *ALL) == [1, "track-o-1"]


@pytest.mark.parametrize("by", [Declined("no funds"), Declined], ids=["object", "class"])
def test_an_exception_is_raised(by: Any) -> None:
    """An exception that takes the place of an activity is its failure."""

    async def use(engine: TestEngine) -> str:
        engine.mock(charge, by)
        return await engine.client.execute(tolerant(ORDER), id="x")

    assert with_engine(use, *ALL).startswith("True: ")


def test_other_engines_keep_the_activity() -> None:
    """A mock counts in its engine alone, also while another one hosts the same activity."""

    async def use(first: TestEngine) -> list[str]:
        async with TestEngine(*ALL) as second:
            first.mock(charge, Receipt(number=1))
            second.mock(charge, Declined("no funds"))
            return [await engine.client.execute(tolerant(ORDER), id="x") for engine in (first, second)]

    assert with_engine(use, *ALL) == ["paid", "True: no funds"]
    with pytest.raises(AssertionError):
        charge.fn(ORDER, "EUR")


def test_mocks_before_the_block_are_hosted() -> None:
    """What is mocked before the block need not be hosted, and its queue is served."""

    async def use() -> str:
        engine = TestEngine(tolerant)
        engine.mock(charge, Receipt(number=1))
        async with engine:
            return await engine.client.execute(tolerant(ORDER), id="x")

    assert asyncio.run(use()) == "paid"


def test_what_is_not_hosted_cannot_be_mocked_inside() -> None:
    """Inside the block a mock of something else is refused with the remedy."""

    async def use(engine: TestEngine) -> None:
        engine.mock(charge, Receipt(number=1))

    with pytest.raises(UserError, match="does not host mock-charge: name it in TestEngine"):
        with_engine(use, tolerant, note)


def one_argument(order: Order) -> Receipt:
    return Receipt(number=1)


def swapped(order: str, currency: str) -> Receipt:
    return Receipt(number=1)


def wrong_result(order: Order, currency: str) -> str:
    return ""


def untyped(order, currency):
    return Receipt(number=1)


@pytest.mark.parametrize(
    ("target", "by", "message"),
    [
        (charge, "paid", r"engine.mock\(mock-charge, …\): 'paid' is not what mock-charge returns"),
        (charge, {"number": "many"}, "is not what mock-charge returns"),
        (charge, one_argument, r"does not take the arguments of mock-charge\(order, currency\)"),
        (charge, swapped, "takes str as order, where mock-charge gets Order as order"),
        (charge, wrong_result, "returns str, but mock-charge returns Receipt"),
        (note, "done", "it returns None"),
        (ship, 7, "7 is not what mock-ship returns"),
        (ship, wrong_result, r"does not take the arguments of mock-ship\(order\)"),
        (charged, 1, "takes an activity or a workflow, not <function charged"),
    ],
)
def test_wrong_types_are_refused_when_the_mock_is_made(target: Any, by: Any, message: str) -> None:
    """A value, a signature or an annotation that does not fit is refused in one sentence."""
    with pytest.raises(BadInput, match=message) as caught:
        TestEngine(*ALL).mock(target, by)
    assert "\n" not in str(caught.value)


def test_a_result_that_does_not_fit_fails_the_activity() -> None:
    """A function without annotations that returns something else fails its activity, naming the mock."""

    async def use(engine: TestEngine) -> str:
        engine.mock(charge, lambda order, currency: "paid")
        return await engine.client.execute(tolerant(ORDER), id="x")

    assert "the mock of mock-charge returned something else" in with_engine(use, *ALL)


def test_functions_without_annotations_are_taken() -> None:
    """A function says nothing wrong without annotations."""
    TestEngine(*ALL).mock(charge, untyped)


def test_a_failing_child_is_seen_by_its_parent() -> None:
    """An exception that takes the place of a child fails the parent that awaits it."""

    async def use(engine: TestEngine) -> None:
        for target, by in ((charge, Receipt(number=1)), (note, None), (ship, TypeError("no van"))):
            engine.mock(target, by)
        await engine.client.execute(fulfil(ORDER), id="x")

    with pytest.raises(WorkflowFailedError, match="no van"):
        with_engine(use, *ALL)
