"""Tests of ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas.errors import BadName
from penstock.schemas.ids import check_message_id, check_record_id, check_workflow_id
from tests.schemas.samples import SEEDED


@pytest.mark.parametrize("text", ["a", "order-7", "x" * 255, "é" * 127, "😀" * 63, " ", "a/b c"])
def test_good_workflow_ids(text):
    """Any text of 1 to 255 bytes is a workflow id, unchanged."""
    assert check_workflow_id(text) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty; give 1 to 255 bytes"),
        ("a\0b", "contains a NUL character; remove it"),
        ("x" * 256, "is 256 bytes long; at most 255 are allowed"),
        ("é" * 128, "is 256 bytes long"),
        ("\ud800", "cannot be encoded as UTF-8"),
    ],
)
def test_bad_workflow_ids(text, sentence):
    """Any other text is refused with a message that says what is wrong."""
    with pytest.raises(BadName, match=sentence):
        check_workflow_id(text)


def test_ids_of_schedules_are_reserved():
    """No run can have the id of a schedule; a command can be addressed to one."""
    with pytest.raises(BadName, match="begins with `schedule:`, as only schedules do"):
        check_workflow_id("schedule:nightly")
    assert check_record_id("schedule:nightly") == "schedule:nightly"


def test_a_message_id_may_be_empty():
    """A message id may be empty, since one is generated then; otherwise the same rules apply."""
    assert check_message_id("") == ""
    with pytest.raises(BadName, match="The message id"):
        check_message_id("x" * 256)


@SEEDED
@given(st.text(st.characters(), max_size=300))
def test_what_passes_is_a_store_key(text):
    """What passes is 1 to 255 bytes of UTF-8 without NUL; what does not, is not."""
    fits = (
        "\0" not in text
        and 1 <= len(text.encode("utf-8", "replace")) <= 255
        and text.encode("utf-8", "ignore").decode() == text
    )
    try:
        check_workflow_id(text)
    except BadName:
        assert not fits
    else:
        assert fits
