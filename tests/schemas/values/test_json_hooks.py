"""Tests that a value arrives as it was sent, or is refused where it is handed over."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretBytes, SecretStr, field_serializer

from penstock import activity, workflow
from penstock.schemas.errors import BadInput
from penstock.schemas.values.payload import Signature, adapter_for


@dataclass
class Photo:
    name: str
    data: bytes


@dataclass
class Note:
    text: str


@dataclass
class Bag:
    items: dict[str, object] = field(default_factory=dict)


class Reading(BaseModel):
    value: float
    others: list[float | None] = []


class Login(BaseModel):
    name: str
    password: SecretStr
    key: SecretBytes = SecretBytes(b"")


class OpenLogin(BaseModel):
    password: SecretStr

    @field_serializer("password")
    def shown(self, value: SecretStr) -> str:
        return value.get_secret_value()


def _travels(annotation: Any, value: Any) -> Any:
    adapter = adapter_for(annotation)
    return adapter.decode(adapter.encode(value))


@given(st.binary(max_size=30))
def test_bytes_in_a_union(data: bytes) -> None:
    """Bytes inside a union of dataclasses arrive as the very bytes that were sent."""
    assert _travels(Photo | Note, Photo("p", data)) == Photo("p", data)
    assert _travels(dict[str, Photo | Note], {"x": Photo("p", data)}) == {"x": Photo("p", data)}


@pytest.mark.parametrize("data", [b"hello", b"\xff\x00", b""])
def test_bytes_that_json_cannot_tell_from_a_text(data: bytes) -> None:
    """In `str | bytes`, bytes would be read as a text: they are refused with a sentence that says so."""
    with pytest.raises(BadInput, match="a value of type bytes would be read as one of type str"):
        adapter_for(str | bytes).encode(data)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("annotation", "around"),
    [
        (float, lambda value: value),
        (float | None, lambda value: value),
        (list[float], lambda value: [1.0, value]),
        (Any, lambda value: {"a": {"b": value}}),
        (Reading, lambda value: Reading(value=value)),
        (Reading, lambda value: Reading(value=1, others=[None, value])),
        (Reading | Note, lambda value: Reading(value=value)),
        (dict[str, Reading], lambda value: {"x": Reading(value=value)}),
    ],
    ids=["float", "optional", "list", "any", "model", "list-in-model", "union", "model-in-dict"],
)
def test_nan_and_infinity_are_refused(annotation: Any, around: Any, value: float) -> None:
    """A float that JSON does not have is refused where it is handed over, and never arrives as None."""
    with pytest.raises(BadInput, match="has no JSON form"):
        adapter_for(annotation).encode(around(value))


def test_none_among_floats_arrives() -> None:
    """None is no NaN: it arrives."""
    assert _travels(list[float | None], [1.5, None]) == [1.5, None]
    assert _travels(Reading, Reading(value=1, others=[None])) == Reading(value=1, others=[None])


@pytest.mark.parametrize(
    "value",
    [Login(name="ann", password=SecretStr("s")), Login(name="a", password=SecretStr(""), key=SecretBytes(b"k"))],
)
def test_a_secret_is_refused(value: Login) -> None:
    """A secret in a model, which would arrive as asterisks, is refused, and the field is named."""
    with pytest.raises(BadInput, match=r"the secret at `(password|key)` would arrive as asterisks"):
        adapter_for(Login).encode(value)
    with pytest.raises(BadInput, match="asterisks"):
        adapter_for(Any).encode({"x": [value]})


def test_a_secret_with_a_serializer_arrives() -> None:
    """A model that says how its secret is written hands it over."""
    given = OpenLogin(password=SecretStr("s3cret"))
    assert _travels(OpenLogin, given) == given


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (object, {"a": [1, "x", None]}),
        (dict[str, object], {"a": 1, "b": [2]}),
        (list[object], [1, "x"]),
        (object | None, None),
        (Bag, Bag({"a": [1]})),
        (Mapping[str, object], {"a": 1}),
        (Iterable[int], [1, 2]),
        (Container[str], ["a"]),
    ],
)
def test_object_and_abstract_collections(annotation: Any, value: Any) -> None:
    """`object` is any JSON value, and an abstract collection is read as a list."""
    assert _travels(annotation, value) == value


_MISSING = object()
_NONE: Any = None


def _called(fn: Any, *args: Any) -> tuple[Any, ...]:
    signature = Signature.of(fn)
    return signature.decode(signature.bind(args, {}))


def test_a_default_that_its_annotation_excludes() -> None:
    """What was left out gets the declared default, whatever the annotation says; a sentinel is itself."""

    def asks(to: str, cc: str = _NONE, limit: int = 3, log: Any = _MISSING) -> None: ...

    assert _called(asks, "ann") == ("ann", None, 3, _MISSING)
    assert _called(asks, "ann", None) == ("ann", None, 3, _MISSING)
    assert _called(asks, "ann", "bob", 1, {"a": 1}) == ("ann", "bob", 1, {"a": 1})


def test_a_parameter_called_self() -> None:
    """A parameter may be called `self`, and be given by name."""

    @activity(name="round-trip-self")
    def greets(self: str, other: str) -> str: ...

    @workflow(name="round-trip-self")
    async def greets_too(self: str) -> None: ...

    calls = greets(self="a", other="b"), greets_too(self="a")
    for call in calls:
        call.claim()
    assert calls[0].input == b'{"self":"a","other":"b"}' and calls[1].input == b'"a"'
