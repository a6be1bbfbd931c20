"""Tests of the requests that workflow code makes."""

from __future__ import annotations

import pytest

from penstock.engine.authoring.workflow import workflow
from tests.engine.core import flows
from tests.engine.stage import Stage


@workflow
async def chained() -> int:
    return await flows.five(1)


@pytest.mark.parametrize("id", ["я" * 127, "深" * 85, "a" * 255, "🙂" * 63])
def test_a_child_of_a_long_id_gets_an_id_that_fits(id: str) -> None:
    """The default id of a child is at most 255 bytes long, for any characters in its parent's id."""
    stage = Stage(chained, flows.five)
    stage.start(chained, id=id)
    stage.run(add=lambda a, b: a + b)
    assert stage.described(id)["status"] == "completed"
