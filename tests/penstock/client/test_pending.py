"""Tests of pending activities by name."""

from __future__ import annotations

import pytest

from penstock.client.pending import encoded_json, pending_number
from penstock.schemas.errors import BadInput

RUN = {
    "workflow_id": "order-1",
    "pending_activities": [
        {"activity": "charge", "sequence": 2},
        {"activity": "ship", "sequence": 3},
        {"activity": "ship", "sequence": 4},
    ],
}


def test_one_pending_activity_is_found_by_its_name():
    """The name of the one pending activity gives its number."""
    assert pending_number(RUN, "charge") == 2


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ship", "order-1 waits for 2 activities ship: name one by its number, 3, 4."),
        ("pack", "order-1 waits for no activity 'pack'; it waits for charge (2), ship (3), ship (4)."),
    ],
)
def test_a_name_of_none_or_of_several_is_refused(name, sentence):
    """A name that is that of no pending activity, or of several, is refused with what is pending."""
    with pytest.raises(BadInput) as caught:
        pending_number(RUN, name)
    assert str(caught.value) == sentence


def test_a_value_without_a_json_form_is_refused():
    """A value that JSON cannot hold is refused before anything is sent."""
    with pytest.raises(BadInput, match="the result has no JSON form"):
        encoded_json(object(), "the result")
