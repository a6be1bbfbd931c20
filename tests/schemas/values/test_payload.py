"""Tests of payloads."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field, field_validator

from penstock.schemas.errors import BadInput, PayloadTooLarge, UserError
from penstock.schemas.values.payload import PAYLOAD_BYTES_MAX, Signature, adapter_for, check_size
from tests.schemas.samples import SEEDED

ItemT = TypeVar("ItemT")


class Order(BaseModel):
    id: str
    total: float
    items: list[str]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    at: datetime
    amount: Decimal = Field(alias="Amount")

    @computed_field
    def doubled(self) -> Decimal:
        return self.amount * 2


class Page(BaseModel, Generic[ItemT]):
    items: list[ItemT]


class Tags(RootModel[list[str]]):
    pass


class Card(BaseModel):
    kind: Literal["card"] = "card"
    number: str


class Transfer(BaseModel):
    kind: Literal["transfer"] = "transfer"
    iban: str


class Even(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("must be even")
        return number


@dataclasses.dataclass
class Line:
    order: Order
    count: int = 1


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Address(TypedDict):
    street: str
    order: Order


class Pair(NamedTuple):
    left: int
    right: str


class Colour(enum.Enum):
    RED = "red"


ORDER = Order(id="o", total=2.5, items=["a", "b"])


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (str, "é", '"é"'),
        (int, 7, "7"),
        (int, 2**70, str(2**70)),
        (float, 0.5, "0.5"),
        (bool, True, "true"),
        (None, {"a": [1, None]}, '{"a":[1,null]}'),
        (Any, [1, "a", None], '[1,"a",null]'),
        (dict[str, int], {"a": 1}, '{"a":1}'),
        (dict[int, str], {1: "a"}, '{"1":"a"}'),
        (tuple[int, str], (1, "a"), '[1,"a"]'),
        (set[int], {1}, "[1]"),
        (int | None, None, "null"),
        (bytes, b"\0\xff", '"AP8="'),
        (datetime, datetime(2026, 1, 2, 3, tzinfo=UTC), '"2026-01-02T03:00:00Z"'),
        (date, date(2026, 1, 2), '"2026-01-02"'),
        (timedelta, timedelta(hours=1), '"PT3600S"'),
        (uuid.UUID, uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Decimal, Decimal("1.10"), '"1.10"'),
        (Colour, Colour.RED, '"red"'),
        (Literal["a", "b"], "a", '"a"'),
        (Annotated[int, msgspec.Meta(ge=0)], 1, "1"),
        (Annotated[int, []], 1, "1"),
        (Point, Point(1), '{"x":1,"y":0}'),
        (Pair, Pair(1, "a"), '[1,"a"]'),
        (Order, ORDER, '{"id":"o","total":2.5,"items":["a","b"]}'),
        (Order | None, None, "null"),
        (list[Order], [ORDER], '[{"id":"o","total":2.5,"items":["a","b"]}]'),
        (Line, Line(ORDER), '{"order":{"id":"o","total":2.5,"items":["a","b"]},"count":1}'),
        (Address, {"street": "s", "order": ORDER}, '{"street":"s","order":{"id":"o","total":2.5,"items":["a","b"]}}'),
        (Page[int], Page[int](items=[1]), '{"items":[1]}'),
        (Tags, Tags(["a"]), '["a"]'),
        (Card | Transfer, Transfer(iban="I"), '{"kind":"transfer","iban":"I"}'),
        (list[Card | Transfer], [Card(number="1")], '[{"kind":"card","number":"1"}]'),
        (Annotated[Card | Transfer, Field(discriminator="kind")], Card(number="1"), '{"kind":"card","number":"1"}'),
    ],
)
def test_values_and_their_json(kind, value, text):
    """Each kind of value has the JSON that one would write by hand, and comes back as it was."""
    adapter = adapter_for(kind)
    assert adapter.encode(value).decode() == text
    again = adapter.decode(text.encode())
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("kind", [Strict, list[Strict], dict[str, Strict]])
def test_models_read_what_they_wrote(kind):
    """A model with aliases, computed fields, strictness and no extras reads its own JSON, at the top and inside."""
    strict = Strict(at=datetime(2026, 1, 2, tzinfo=UTC), Amount=Decimal("1.10"))
    value = {Strict: strict, list[Strict]: [strict], dict[str, Strict]: {"a": strict}}[kind]
    adapter = adapter_for(kind)
    assert adapter.decode(adapter.encode(value)) == value


@SEEDED
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_plain_value(value):
    """Every plain JSON value survives, and other JSON readers read it the same."""
    adapter = adapter_for(Any)
    assert adapter.decode(adapter.encode(value)) == value
    assert json.loads(adapter.encode(value)) == value


def test_adapters_are_made_once():
    """Asking twice for a type gives the same adapter."""
    assert adapter_for(list[Order]) is adapter_for(list[Order])


def test_no_bytes_are_null():
    """An empty input, as from a foreign producer, is null."""
    assert adapter_for(int | None).decode(b"") is None


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        (int, '"a"', "The value does not fit int: expected `int`, got `str`."),
        (list[int], '[1,"a"]', "The value does not fit list[int]: `[1]`: expected `int`, got `str`."),
        (Line, '{"order":{"id":"o","items":[]}}', "The value does not fit Line: `order.total`: field required."),
        (Line, "{}", "The value does not fit Line: object missing required field `order`."),
        (Point, '{"x":1,"y":"a"}', "The value does not fit Point: `y`: expected `int`, got `str`."),
        (
            Order,
            '{"id":1,"items":[2]}',
            "`id`: input should be a valid string; `total`: field required; `items[0]`: input",
        ),
        (list[Order], '[{"id":"a","total":"x","items":[]}]', "`[0].total`: input should be a valid number"),
        (Address, '{"street":"s","order":3}', "`order`: input should be an object."),
        (Even, '{"number":3}', "`number`: value error, must be even."),
        (Card | Transfer, '{"kind":"card"}', "`Card.number`: field required"),
        (datetime, '"yesterday"', "does not fit datetime: invalid RFC3339"),
        (Colour, '"blue"', "does not fit Colour: invalid enum value 'blue'"),
        (dict, "{", "does not fit dict: input data was truncated."),
        (dict, "{'a':1}", "does not fit dict: JSON is malformed"),
        (Any, "[" * 100_000, "is nested too deeply"),
    ],
)
def test_what_does_not_fit(kind, text, sentence):
    """A value that does not fit gives one sentence with the type, the path and what is wrong there."""
    with pytest.raises(BadInput) as raised:
        adapter_for(kind).decode(text.encode())
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_many_problems_are_counted():
    """Three of many problems are shown and the others counted."""
    with pytest.raises(BadInput, match=r"`\[2\]`: input should be a valid string; and 7 more\.$"):
        adapter_for(Tags).decode(json.dumps(list(range(10))).encode())


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (object(), "A value of type object has no JSON form: use plain values, dataclasses"),
        (Order, "A value of type ModelMetaclass has no JSON form"),
        ([1j], "A value of type complex has no JSON form"),
        ("\ud800", "cannot be encoded as JSON: 'utf-8' codec can't encode"),
        ({(1, 2): 3}, "{(1, 2): 3} cannot be encoded as JSON: a key must be a text or a number, not a tuple."),
    ],
)
def test_what_has_no_json(value, sentence):
    """A value without a JSON form is refused when it is encoded."""
    with pytest.raises(BadInput) as raised:
        adapter_for(Any).encode(value)
    assert sentence in str(raised.value)


def test_a_coroutine_is_no_value():
    """A coroutine is refused as not awaited, with what to write."""

    async def weighed() -> int:
        return 1

    with (
        contextlib.closing(weighed()) as coroutine,
        pytest.raises(BadInput, match=r"not awaited: write `await .*weighed"),
    ):
        adapter_for(Any).encode([coroutine])


def test_a_value_that_holds_itself():
    """A list that holds itself is refused and not followed for ever."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(BadInput, match="cannot be encoded as JSON"):
        adapter_for(Any).encode(value)


@pytest.mark.parametrize("kind", [json, Card | Point])
def test_types_that_cannot_be_encoded(kind):
    """A type that neither msgspec nor pydantic reads is named, with the reason."""
    with pytest.raises(BadInput, match="cannot be encoded as JSON: ") as raised:
        adapter_for(kind).decode(b"1")
    assert "\n" not in str(raised.value)


def test_size_limit():
    """A value at the limit passes; a byte more is refused with size, limit and the call's name."""
    check_size(b"x" * PAYLOAD_BYTES_MAX, what="charge")
    with pytest.raises(PayloadTooLarge, match="charge: the value takes 900,001 bytes as JSON and the limit is 900,000"):
        check_size(b"x" * (PAYLOAD_BYTES_MAX + 1), what="charge")
    with pytest.raises(PayloadTooLarge, match="takes 11 bytes as JSON and the limit is 10"):
        check_size(b"x" * 11, limit=10, what="heartbeat")


# Signatures.


def nothing() -> None: ...
def one(order: Order) -> str: ...
def one_optional(count: int = 5) -> int: ...
def one_nullable(count: int | None = 5) -> int: ...
def several(order: Order, sku: str, count: int = 3, tags: list[str] = ["a"]) -> Line: ...  # noqa: B006 - the claim
def all_optional(a: int = 1, b: str = "x") -> None: ...
def unannotated(a, b): ...
def unions(order: Order, how: Card | Transfer, other: Card | Transfer = Card(number="0")) -> None: ...
def only_by_place(a: int, b: int, /) -> None: ...


ORDER_JSON = '{"id":"o","total":2.5,"items":["a","b"]}'


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "text", "arguments"),
    [
        (nothing, (), {}, "null", ()),
        (one, (ORDER,), {}, ORDER_JSON, (ORDER,)),
        (one, (), {"order": ORDER}, ORDER_JSON, (ORDER,)),
        (one_optional, (), {}, "5", (5,)),
        (one_optional, (6,), {}, "6", (6,)),
        (one_nullable, (None,), {}, "null", (None,)),
        (
            several,
            (ORDER, "s"),
            {},
            f'{{"order":{ORDER_JSON},"sku":"s","count":3,"tags":["a"]}}',
            (ORDER, "s", 3, ["a"]),
        ),
        (
            several,
            (ORDER,),
            {"tags": [], "sku": "s"},
            f'{{"order":{ORDER_JSON},"sku":"s","count":3,"tags":[]}}',
            (ORDER, "s", 3, []),
        ),
        (all_optional, (), {}, '{"a":1,"b":"x"}', (1, "x")),
        (unannotated, (1, {"z": None}), {}, '{"a":1,"b":{"z":null}}', (1, {"z": None})),
        (
            unions,
            (ORDER, Transfer(iban="I")),
            {},
            f'{{"order":{ORDER_JSON},"how":{{"kind":"transfer","iban":"I"}},"other":{{"kind":"card","number":"0"}}}}',
            (ORDER, Transfer(iban="I"), Card(number="0")),
        ),
        (only_by_place, (1, 2), {}, '{"a":1,"b":2}', (1, 2)),
    ],
)
def test_arguments_and_their_json(fn, args, kwargs, text, arguments):
    """None, one and several arguments have their three shapes, defaults included, and come back by position."""
    signature = Signature.of(fn)
    assert signature.bind(args, kwargs).decode() == text
    assert signature.decode(text.encode()) == arguments


@pytest.mark.parametrize(
    ("fn", "text", "arguments"),
    [
        (nothing, "", ()),
        (nothing, "{}", ()),
        (nothing, "[]", ()),
        (one_optional, "null", (5,)),
        (one_optional, "", (5,)),
        (one_nullable, "null", (None,)),
        (all_optional, "null", (1, "x")),
        (all_optional, "", (1, "x")),
        (all_optional, '{"b":"y"}', (1, "y")),
        (all_optional, "[7]", (7, "x")),
        (all_optional, ' [7,"y"]', (7, "y")),
        (several, f'[{ORDER_JSON},"s"]', (ORDER, "s", 3, ["a"])),
        (unions, f'[{ORDER_JSON},{{"kind":"card","number":"9"}}]', (ORDER, Card(number="9"), Card(number="0"))),
        (
            unions,
            f'{{"order":{ORDER_JSON},"how":{{"kind":"card","number":"9"}}}}',
            (ORDER, Card(number="9"), Card(number="0")),
        ),
    ],
)
def test_other_ways_to_write_arguments(fn, text, arguments):
    """Parameters with defaults may be left out, and an array by position is accepted."""
    assert Signature.of(fn).decode(text.encode()) == arguments


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "sentence"),
    [
        (nothing, (1,), {}, "nothing(): it takes no arguments."),
        (one, (), {}, "one(order): missing required argument 'order'."),
        (one, (1, 2), {}, "one(order): it takes one argument, not 2."),
        (one, (1,), {"order": 2}, "one(order): it takes one argument, not 2."),
        (one, (), {"ordre": 1}, "one(order): unexpected argument name."),
        (several, (ORDER,), {}, "several(order, sku, count, tags): missing required argument 'sku'."),
        (several, (1, 2, 3, 4, 5), {}, "several(order, sku, count, tags): extra positional arguments provided."),
        (several, (1, 2), {"sku": 3}, "argument 'sku' given by name and position."),
        (several, (1, 2), {"skuu": 3}, "unexpected keyword argument 'skuu'."),
        (several, (1, object()), {}, "A value of type object has no JSON form"),
        (one, (object(),), {}, "A value of type object has no JSON form"),
    ],
)
def test_arguments_that_cannot_be_bound(fn, args, kwargs, sentence):
    """A call that Python would refuse is refused alike, with the function's name and parameters."""
    with pytest.raises(BadInput) as raised:
        Signature.of(fn).bind(args, kwargs)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("fn", "text", "sentence"),
    [
        (nothing, "3", "The input does not fit nothing(): it takes none."),
        (one, "null", "The input does not fit one(order): input should be an object."),
        (one, '{"id":"o","total":1}', "The input does not fit one(order): `items`: field required."),
        (one_optional, '"a"', "The input does not fit one_optional(count): expected `int`, got `str`."),
        (several, "null", "several(order, sku, count, tags): object missing required field `order`."),
        (several, f'{{"order":{ORDER_JSON},"sku":1}}', "`sku`: expected `str`, got `int`."),
        (several, f'{{"order":{ORDER_JSON},"sku":"s","x":1}}', "object contains unknown field `x`."),
        (several, '{"order":{},"sku":"s"}', "`order.id`: field required; `order.total`: field required; `order.items`"),
        (all_optional, '[1,"x",3]', "expected `array` of at most length 2."),
        (all_optional, "7", "expected `object`, got `int`."),
        (unions, f'[{ORDER_JSON},{{"kind":"card"}}]', "`how.Card.number`: field required"),
    ],
)
def test_input_that_does_not_fit(fn, text, sentence):
    """Input of a wrong shape gives one sentence with the function, the path and what is wrong there."""
    with pytest.raises(BadInput) as raised:
        Signature.of(fn).decode(text.encode())
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_arguments_beyond_the_limit():
    """Arguments beyond the limit are refused when the call is made, under the name it is known by."""
    with pytest.raises(PayloadTooLarge, match=r"charge-v2: the value takes 900,\d+ bytes"):
        Signature.of(all_optional).bind((1, "x" * PAYLOAD_BYTES_MAX), {}, "charge-v2")
    with pytest.raises(PayloadTooLarge, match="one_optional: "):
        Signature.of(one_optional).bind(("x" * PAYLOAD_BYTES_MAX,), {})


def test_results():
    """The result travels by its annotation; without one it is any JSON."""
    line = Signature.of(several).returns
    assert line.decode(line.encode(Line(ORDER, 2))) == Line(ORDER, 2)
    for fn in (nothing, unannotated):
        assert Signature.of(fn).returns.decode(b'{"a":1}') == {"a": 1}


@pytest.mark.parametrize("fn", [lambda *a: a, lambda **a: a, lambda *, a: a])
def test_unsupported_parameters(fn):
    """Parameters without a place and a name are refused at once, when the function is decorated."""
    with pytest.raises(BadInput, match="is not supported; make it positional"):
        Signature.of(fn)


def test_methods():
    """A method's first parameter is not its input."""

    class Subscription:
        def run(self, plan: str, seats: int = 1) -> None: ...

    signature = Signature.of(Subscription.run, skip_first=True)
    assert signature.bind(("pro",), {}) == b'{"plan":"pro","seats":1}'
    assert signature.decode(b'{"plan":"pro"}') == ("pro", 1)


def test_types_of_the_function_around():
    """Annotations may name local types of the enclosing function."""

    class Local(BaseModel):
        a: int

    def takes(value: Local, more: list[Local] | None = None) -> Local: ...

    assert Signature.of(takes).decode(b'{"value":{"a":1}}') == (Local(a=1), None)
    assert Signature.of(takes).returns.decode(b'{"a":2}') == Local(a=2)


def test_annotations_are_resolved_at_first_use():
    """A type may be defined after the function that names it."""
    signature = Signature.of(names_what_comes_later)
    assert signature.decode(b'{"a":1}') == (DefinedLater(a=1),)


def names_what_comes_later(value: DefinedLater) -> None: ...


class DefinedLater(BaseModel):
    a: int


def test_annotations_that_cannot_be_resolved():
    """The message about an unknown name names the function."""

    def lost(value: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(
        UserError, match=r"The annotations of .*lost cannot be resolved \(name 'Nowhere' is not defined"
    ):
        Signature.of(lost).decode(b"1")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (str, '"…"'),
        (datetime, '"…"'),
        (uuid.UUID, '"…"'),
        (Decimal, '"…"'),
        (int, "1"),
        (Annotated[int, msgspec.Meta(ge=0)], "1"),
        (float, "1.5"),
        (bool, "true"),
        (None | str, '"…"'),
        (int | None, "1"),
        (list[str], "[…]"),
        (set[int], "[…]"),
        (tuple[int, ...], "[…]"),
        (tuple[int, str], "[…]"),
        (Pair, "[…]"),
        (Literal["b", "a"], '"a"'),
        (Colour, '"red"'),
        (Any, "…"),
        (msgspec.Raw, "…"),
        (None, "null"),
        (dict[str, int], "{…}"),
        (Order, "{…}"),
        (Line, "{…}"),
        (Point, "{…}"),
        (Address, "{…}"),
        (Card | Transfer, "{…}"),
    ],
)
def test_the_sketch_of_one_parameter(kind, text):
    """The sketch of one parameter is JSON of its type's kind."""

    def take(value: kind): ...

    assert Signature.of(take).sketch == text


def test_the_sketch_of_several_parameters():
    """Several parameters give an object, one without an annotation any JSON, and none an empty sketch."""
    assert Signature.of(lambda: None).sketch == ""
    assert Signature.of(lambda value: None).sketch == "…"
    assert Signature.of(lambda one, two: None).sketch == "{…}"


def test_errors_are_values():
    """BadInput and PayloadTooLarge are ValueErrors too."""
    with pytest.raises(ValueError, match="does not fit"):
        adapter_for(int).decode(b'"a"')
