"""Tests of the reading of input records."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.engine.core.decision import Rejection
from penstock.engine.runtime.read import read
from penstock.schemas.encoding.codec import encode
from penstock.schemas.ids import WORKFLOW_ID_BYTES_MAX
from penstock.schemas.records.run import CancelWorkflow
from penstock.topics.catalogue import Topics
from penstock.topics.log import StoredRecord

TOPICS = Topics()


def as_read(message_id: str) -> Any:
    command = CancelWorkflow(workflow_id="run-1", message_id=message_id)
    return read(StoredRecord(TOPICS.commands, 0, 0, None, encode(command)), TOPICS, 0, 1)


@pytest.mark.parametrize("given", ["m", "m" * WORKFLOW_ID_BYTES_MAX, "é"])
def test_a_printable_message_id_is_kept(given: str) -> None:
    """A printable message id of 1 to 255 bytes is the one by which repetitions are recognised."""
    assert as_read(given).message_id == given


@pytest.mark.parametrize("given", ["", "a\nb"])
def test_a_message_id_is_derived_where_none_can_be_used(given: str) -> None:
    """A command without a message id, or with one that is not printable, gets another, the same at each reading."""
    found = as_read(given).message_id
    assert found.isprintable()
    assert len(found) == 32
    assert as_read(given).message_id == found


def test_a_longer_message_id_is_rejected() -> None:
    """A message id of more than 255 bytes is rejected with its length: a shorter one would not be the producer's."""
    rejection = as_read("m" * (WORKFLOW_ID_BYTES_MAX + 1))
    assert isinstance(rejection, Rejection)
    assert rejection.message.endswith("is 256 bytes long; at most 255 are allowed.")
