"""Validation of an activity's declaration (workers/activity/checks.py)."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.schemas.errors import BadDuration, BadInput, BadName
from penstock.workers.activity.decorator import activity


class CardDeclined(Exception):
    pass


def test_a_single_non_retryable_class_is_taken_as_one() -> None:
    """`non_retryable=SomeError` is equivalent to a tuple of that class."""

    @activity(non_retryable=CardDeclined)
    def pay() -> None: ...

    assert pay.non_retryable == (CardDeclined,)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"queue": "no blanks"}, BadName),
        ({"queue": ""}, BadName),
        ({"name": ""}, BadName),
        ({"name": "two words"}, BadName),
        ({"timeout": "soon"}, BadDuration),
        ({"timeout": 0}, BadDuration),
        ({"retries": -1}, BadInput),
        ({"retries": True}, BadInput),
        ({"retries": 1.5}, BadInput),
        ({"backoff": 0.5}, BadInput),
        ({"backoff": []}, BadInput),
        ({"backoff": "1s"}, BadInput),
        ({"backoff": ["soon"]}, BadDuration),
        ({"priority": "urgent"}, BadInput),
        ({"non_retryable": (CardDeclined, "CardDeclined")}, BadInput),
        ({"non_retryable": 3}, BadInput),
    ],
)
def test_invalid_options_are_refused_at_decoration(options: dict[str, Any], error: type[Exception]) -> None:
    """An invalid option raises at decoration, not later on a worker."""
    with pytest.raises(error):
        activity(**options)(_plain)


def _plain() -> None: ...


def _generator() -> Any:
    yield 1


async def _async_generator() -> Any:
    yield 1


def _star(*args: int) -> None: ...


def _stars(**kwargs: int) -> None: ...


class _Holder:
    def method(self) -> None: ...


@pytest.mark.parametrize(
    "fn",
    [_generator, _async_generator, _star, _stars, _Holder.method, _Holder, len, 3],
    ids=["generator", "async generator", "*args", "**kwargs", "method", "class", "built-in", "number"],
)
def test_what_cannot_be_an_activity_is_refused(fn: Any) -> None:
    """Generators, `*args`, methods and objects other than functions raise BadInput at decoration."""
    with pytest.raises(BadInput, match="."):
        activity(fn)


def test_a_lambda_needs_a_name() -> None:
    """A lambda is refused without `name=`, and accepted with it."""
    with pytest.raises(BadName):
        activity(lambda: 1)
    assert activity(name="one")(lambda: 1).name == "one"
