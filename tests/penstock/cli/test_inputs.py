"""Tests of `--input`: its forms, and the messages for invalid values."""

import io
import sys

import pytest

from penstock.cli.inputs import is_lines, read_input, read_lines
from penstock.schemas.errors import BadInput, BadName


def test_forms_of_input(tmp_path, monkeypatch):
    """The input is JSON, a file or stdin; without one it is null."""
    (tmp_path / "order.json").write_text(' {"a": 1}\n')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[1]\n")))
    assert read_input(None) == b"null"
    assert read_input('{"total": 12.50}') == b'{"total": 12.50}'
    assert read_input(f"@{tmp_path}/order.json") == b'{"a": 1}'
    assert read_input("-") == b"[1]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1', "line 1, column 8"),
        ('{"a":\n 1,}', "line 2, column 4"),
        ("", "line 1, column 1"),
        ("NaN", "NaN is not a JSON number"),
        ("[" * 100_000, "too deeply"),
    ],
)
def test_bad_json(text, message):
    """The message for invalid JSON has its position."""
    with pytest.raises(BadInput) as raised:
        read_input(text)
    assert message in str(raised.value)


@pytest.mark.parametrize("text", ["Ann", "order-7", "Ann Smith", "Zoë", "ann@example.com"])
def test_a_bare_word(text):
    """The message for a text without quotes shows how to write it in a shell."""
    with pytest.raises(BadInput, match=f"""at line 1, column 1; write a text as '"{text}"'.$"""):
        read_input(text)


@pytest.mark.parametrize("text", ['{"a": 1', "1.2.3", "{name: Ann}", '"Ann', "it's"])
def test_other_invalid_json(text):
    """The message for other invalid JSON has no advice about texts."""
    with pytest.raises(BadInput) as raised:
        read_input(text)
    assert "write a text as" not in str(raised.value)


def test_a_missing_file(tmp_path):
    """The message for a file that cannot be read has its name and the reason."""
    with pytest.raises(BadInput, match=r"absent.json cannot be read: No such file"):
        read_input(f"@{tmp_path}/absent.json")


def test_bytes_that_are_not_utf8(tmp_path):
    """The message for bytes that are not UTF-8 has their position."""
    (tmp_path / "latin.json").write_bytes(b'"\xfc"')
    with pytest.raises(BadInput, match="byte 2"):
        read_input(f"@{tmp_path}/latin.json")


def test_lines(tmp_path):
    """Each line is one value with its id in the given field, also as an integer; empty lines are skipped."""
    (tmp_path / "orders.jsonl").write_text('{"id":"a"}\n\n  {"id": 7}\n')
    given = f"@{tmp_path}/orders.jsonl"
    assert is_lines(given)
    assert not is_lines("@orders.json")
    assert read_lines(given, "id") == [(b'{"id":"a"}', "a"), (b'{"id": 7}', "7")]
    values = read_lines(given, None)
    assert [value for value, _ in values] == [b'{"id":"a"}', b'{"id": 7}']
    assert len({id for _, id in values}) == 2


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("{bad", BadInput, "line 2 of"),
        ('{"name":"x"}', BadInput, "--id-field"),
        ('{"id":true}', BadInput, "--id-field"),
        ("[1]", BadInput, "--id-field"),
        ('{"id":""}', BadName, "line 2 of"),
    ],
)
def test_a_bad_line(tmp_path, line, error, message):
    """The message for an invalid line has its number and says that nothing was started."""
    (tmp_path / "orders.jsonl").write_text(f'{{"id":"a"}}\n{line}\n')
    with pytest.raises(error) as raised:
        read_lines(f"@{tmp_path}/orders.jsonl", "id")
    assert message in str(raised.value)
    assert "line 2" in str(raised.value)
    assert str(raised.value).endswith("; nothing was started.")
