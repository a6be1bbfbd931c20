"""Tests of declared functions: what can be one, and how wrappers receive their arguments."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from penstock.schemas.errors import BadInput
from penstock.schemas.values.functions import check_function, code_of
from penstock.schemas.values.payload import Signature


async def _plain(a: int, b: int = 2) -> int:
    return a + b


class _Order:
    async def run(self, n: int) -> int:
        return n

    @classmethod
    async def make(cls, n: int) -> int:
        return n

    @staticmethod
    async def fixed(n: int) -> int:
        return n

    async def __call__(self, n: int) -> int:
        return n


async def _feed(n: int) -> AsyncIterator[int]:
    yield n


def _count(n: int) -> Iterator[int]:
    yield n


def _wrapped(fn: Any) -> Any:
    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await fn(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (functools.partial(_plain, 1), "needs an async function (async def), not functools.partial"),
        (functools.partial(_plain, b=1), "write a function that calls it"),
        (_Order().run, "not <bound method"),
        (_Order.make, "not <bound method"),
        (_Order.run, "is a method"),
        (_wrapped(_Order.run), "is a method"),
        (_Order, "not <class"),
        (_Order(), "write a function that calls it"),
        (staticmethod(_plain), "not <staticmethod"),
        (functools.lru_cache(_plain), "write a function that calls it"),
        (_feed, "is a generator (it has a `yield`)"),
        (_count, "is a generator"),
        (_wrapped(_feed), "is a generator"),
        (print, "not <built-in function print>"),
        ("greet", "not 'greet'"),
    ],
)
def test_what_is_no_plain_function(fn: Any, says: str) -> None:
    """What cannot work is refused with one sentence that says why."""
    with pytest.raises(BadInput) as refused:
        check_function(fn, "workflow")
    assert says in str(refused.value)


@pytest.mark.parametrize("fn", [_plain, _wrapped(_plain), _Order.fixed, lambda n: n])
def test_a_function_with_or_without_a_wrapper(fn: Any) -> None:
    """A plain function, a static method and a wrapper of either can be declared."""
    check_function(fn, "activity")


def _sum(a: int, b: int, c: int = 3) -> int:
    return a + b + c


def _first_by_place(a: int, /, b: int) -> int:
    return a + b


@pytest.mark.parametrize(
    ("fn", "wrapper", "by_place", "by_name"),
    [
        (_sum, _sum, (1, 2, 3), {}),
        (_sum, lambda *args: args, (1, 2, 3), {}),
        (_sum, lambda *args, **kwargs: args, (), {"a": 1, "b": 2, "c": 3}),
        (_sum, lambda a, b, **kwargs: a, (1, 2), {"c": 3}),
        (_sum, lambda x, *args, **kwargs: x, (1,), {"b": 2, "c": 3}),
        (_sum, lambda x, y, z, **kwargs: x, (1, 2, 3), {}),
        (_sum, lambda a, *, b, c: a, (1,), {"b": 2, "c": 3}),
        (_first_by_place, lambda *args, **kwargs: args, (1,), {"b": 2}),
    ],
)
def test_arguments_of_a_wrapper(fn: Any, wrapper: Any, by_place: tuple[Any, ...], by_name: dict[str, Any]) -> None:
    """A wrapper receives by name what it does not take by position itself; one without `**kwargs`, all by position."""
    declared = fn if wrapper is fn else functools.wraps(fn)(wrapper)
    signature = Signature.of(declared)
    data = signature.bind((1, 2), {})
    assert signature.handed(signature.decode(data)) == (by_place, by_name)
    declared(*by_place, **by_name)


def test_a_wrapper_that_hides_the_function_is_refused() -> None:
    """A wrapper without functools.wraps is refused with a sentence that names it."""
    with pytest.raises(BadInput, match=r"functools\.wraps"):
        Signature.of(lambda *args, **kwargs: _sum(*args, **kwargs))


def test_the_code_below_decorators() -> None:
    """File and line are those of the function; a wrapped object without code has those of its wrapper."""
    assert code_of(_wrapped(_plain)) is _plain.__code__
    by_partial = _wrapped(functools.partial(_plain, 1))
    assert code_of(by_partial) is by_partial.__code__
