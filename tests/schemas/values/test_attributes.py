"""Tests of memos, details and search attributes as values."""

from __future__ import annotations

import datetime as dt
import enum
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas.errors import BadInput, BadName, PayloadTooLarge
from penstock.schemas.values.attributes import (
    DETAILS_BYTES_MAX,
    MEMO_BYTES_MAX,
    SEARCH_BYTES_MAX,
    SEARCH_MAX,
    decode_memo,
    encode_details,
    encode_memo,
    encode_search,
    problem_of_memo,
    problem_of_search,
    read_search,
    search_after,
    search_changes,
    shown_search,
)
from tests.schemas.samples import SEEDED

NOON = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)


class Tier(enum.Enum):
    GOLD = "gold"


class Point(msgspec.Struct):
    x: int


def test_a_memo_holds_any_values() -> None:
    """A memo is a JSON object of values of any encodable type; without values there is none."""
    data = encode_memo({"at": Point(1), "tags": ["a", None], "when": NOON})
    assert decode_memo(data) == {"at": {"x": 1}, "tags": ["a", None], "when": "2026-11-26T12:00:00Z"}
    assert (encode_memo(None), encode_memo({}), decode_memo(b"")) == (b"", b"", {})


@pytest.mark.parametrize("memo", [["a"], {1: "a"}, "a"])
def test_a_memo_is_a_mapping_by_text(memo: Any) -> None:
    """Anything but a mapping whose keys are texts is refused."""
    with pytest.raises(BadInput, match="memo must be a mapping of values by text"):
        encode_memo(memo)


def test_sizes_are_bounded() -> None:
    """Memo, details and search attributes over their limits are refused with size and limit."""
    with pytest.raises(PayloadTooLarge, match=f"memo: the value takes .* limit is {MEMO_BYTES_MAX:,}"):
        encode_memo({"text": "x" * MEMO_BYTES_MAX})
    with pytest.raises(PayloadTooLarge, match=f"details.*limit is {DETAILS_BYTES_MAX:,}"):
        encode_details("x" * DETAILS_BYTES_MAX)
    with pytest.raises(PayloadTooLarge, match=f"search attributes: .* limit is {SEARCH_BYTES_MAX:,}"):
        encode_search({"text": "x" * SEARCH_BYTES_MAX})
    with pytest.raises(BadInput, match=f"There are {SEARCH_MAX + 1} search attributes; at most {SEARCH_MAX}"):
        encode_search({f"a{number}": number for number in range(SEARCH_MAX + 1)})


def test_details() -> None:
    """Details are any value with a JSON form; None is the absence of details."""
    assert (encode_details({"step": 3}), encode_details(None)) == (b'{"step":3}', b"")
    with pytest.raises(BadInput, match="has no JSON form"):
        encode_details(object())


VALUES = {
    "a": st.text(alphabet=st.characters(codec="utf-8"), max_size=20),
    "b": st.integers(-(2**63), 2**63 - 1),
    "c": st.floats(allow_nan=False, allow_infinity=False),
    "d": st.booleans(),
    "e": st.datetimes(timezones=st.just(dt.UTC)),
    "f": st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=5), max_size=3),
}


@SEEDED
@given(st.fixed_dictionaries({}, optional=VALUES))
def test_search_attributes_keep_their_types(attributes: dict[str, Any]) -> None:
    """Each allowed value is read back equal and of its type."""
    found = read_search(encode_search(attributes))
    assert found == attributes
    assert {name: type(value) for name, value in found.items()} == {n: type(v) for n, v in attributes.items()}


def test_search_attributes_as_shown() -> None:
    """Readers see moments as texts in UTC, tuples as lists, and members of an Enum by their values."""
    zone = dt.timezone(dt.timedelta(hours=2))
    data = encode_search({"due": NOON.astimezone(zone), "tags": ("a", "b"), "tier": Tier.GOLD})
    assert shown_search(data) == {"due": "2026-11-26T12:00:00Z", "tags": ["a", "b"], "tier": "gold"}
    assert shown_search(b"") == {}


@pytest.mark.parametrize(
    ("attributes", "kind", "sentence"),
    [
        ({"a": None}, BadInput, "a cannot be None of type NoneType: give a str, int, float"),
        ({"a": {"x": 1}}, BadInput, "a cannot be {'x': 1} of type dict"),
        ({"a": [1]}, BadInput, "of type list: give a str"),
        ({"a": b"x"}, BadInput, "of type bytes"),
        ({"a": 2**63}, BadInput, "of type int"),
        ({"a": math.nan}, BadInput, "a cannot be nan of type float"),
        ({"a": NOON.date()}, BadInput, "of type date"),
        ({"a": NOON.replace(tzinfo=None)}, BadInput, "a naive datetime, 2026-11-26 12:00:00: give it a time zone"),
        ({"a": "\ud800"}, BadInput, "a text that UTF-8 cannot express"),
        ({"a b": 1}, BadName, "cannot be called 'a b': its name has at most 64 letters"),
        ({"1a": 1}, BadName, "cannot be called '1a'"),
        ({"é": 1}, BadName, "cannot be called 'é'"),
        ({"a" * 65: 1}, BadName, "its name has at most 64 letters"),
        ({3: 1}, BadName, "cannot be called 3"),
        ({"status": "x"}, BadName, "cannot be called status, which lists of runs use themselves"),
        ([("a", 1)], BadInput, "search must be a mapping of values by name"),
    ],
)
def test_unsupported_attributes_are_refused(attributes: Any, kind: type[Exception], sentence: str) -> None:
    """A value of no supported type, and a name that a filter could not hold, are refused with a sentence."""
    with pytest.raises(kind) as raised:
        encode_search(attributes)
    assert sentence in str(raised.value)


def test_only_changes_count() -> None:
    """Values that are as they were are no change; None removes one that is there."""
    known = encode_search({"a": 1, "b": True, "c": "x"})
    assert search_changes(known, {"a": 1, "b": True}) == b""
    assert search_changes(known, {"d": None}) == b""
    changes = search_changes(known, {"a": 2, "b": None, "c": "x"})
    assert msgspec.json.decode(changes) == {"a": 2, "b": None}
    assert read_search(search_after(known, changes)) == {"a": 2, "c": "x"}
    assert search_after(encode_search({"a": 1}), b'{"a":null}') == b""


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [(1, "x", "type int and cannot become one of type str"), (1, 1.0, "one of type float"), (1, True, "type bool"),
     ("x", NOON, "type str and cannot become one of type datetime"), ("x", ["x"], "one of type list")],
)  # fmt: skip
def test_a_type_stays(before: Any, after: Any, words: str) -> None:
    """An attribute whose type would change is refused; once removed, it may come back with another type."""
    known = encode_search({"a": before})
    with pytest.raises(BadInput, match=words):
        search_changes(known, {"a": after})
    assert read_search(search_after(b"", search_changes(b"", {"a": after}))) == {"a": after}


def test_bounds_hold_for_all_attributes_together() -> None:
    """Changes that bring the attributes over a limit are refused."""
    known = encode_search({f"a{number}": number for number in range(SEARCH_MAX)})
    with pytest.raises(BadInput, match="at most"):
        search_changes(known, {"one_more": 1})
    with pytest.raises(PayloadTooLarge):
        search_changes(encode_search({"a": "x" * 3_000}), {"b": "x" * 3_000})


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"[]", "no JSON object"),
        (b"{", "no JSON object"),
        (b'{"a":{"x":1}}', 'cannot be an object; for a moment, write {"datetime"'),
        (b'{"a":{"datetime":"soon"}}', "for a moment, write"),
        (b'{"a":{"datetime":"2026-11-26T10:00:00"}}', "a naive datetime"),
        (b'{"a":null}', "cannot be None"),
        (b'{"a b":1}', "cannot be called"),
        (b'{"a":"' + b"x" * SEARCH_BYTES_MAX + b'"}', "limit is"),
    ],
)
def test_attributes_of_foreign_producers(data: bytes, sentence: str) -> None:
    """What is wrong with attributes in JSON is named; good ones have no problem."""
    assert sentence in problem_of_search(data)
    assert problem_of_search(b'{"a":1,"due":{"datetime":"2026-11-26T10:00:00Z"}}') == problem_of_search(b"") == ""


def test_memos_of_foreign_producers() -> None:
    """A memo in JSON has to be an object within the limit."""
    assert "no JSON object" in problem_of_memo(b"7")
    assert "limit is" in problem_of_memo(b'{"a":"' + b"x" * MEMO_BYTES_MAX + b'"}')
    assert problem_of_memo(b'{"a":1}') == problem_of_memo(b"") == ""
