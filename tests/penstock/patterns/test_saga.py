"""Tests of sagas, on a shard with simulated time."""

from __future__ import annotations

import pytest

from penstock.schemas.failure import Failure
from penstock.schemas.records.run import CancelWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage


def test_saga_undoes_in_reverse() -> None:
    """A cancelled saga undoes its steps, the latest first, and the run ends cancelled."""
    stage = Stage(flows.travel)
    undone: list[str] = []
    stage.start(flows.travel, ["hotel", "car", "flight"])
    stage.run(book_place=lambda value: value)
    stage.tell(CancelWorkflow(workflow_id="run-1", reason="ill", message_id="m"))
    stage.run(unbook_place=undone.append)
    assert undone == ["flight", "car", "hotel"]
    assert stage.described()["status"] == "cancelled"


def test_saga_cancels_pending_steps_and_undoes_all_that_were_scheduled() -> None:
    """When one of several parallel steps fails, the others are cancelled and all that were scheduled are undone."""
    stage = Stage(flows.travel_together)
    stage.start(flows.travel_together, ["a", "b", "c"])
    first, second, _ = stage.take("tasks")
    stage.complete(first, "a")
    stage.fail(second, Failure(type="app.Full", message="full", non_retryable=True))
    assert stage.events().count("ActivityCancelled") == 1
    undone: list[str] = []
    stage.run(unbook_place=undone.append)
    assert undone == ["c", "b", "a"]
    assert stage.described()["status"] == "failed"


def test_saga_is_undone_though_cancelled_again() -> None:
    """A second request to cancel does not interrupt undoing."""
    stage = Stage(flows.travel)
    stage.start(flows.travel, ["hotel", "car"])
    stage.run(book_place=lambda value: value)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m1"))
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m2"))
    undone: list[str] = []
    stage.run(unbook_place=undone.append)
    assert undone == ["car", "hotel"]


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("definition", "got the function book_place; write book_place(…)."),
        ("undo", "got the function unbook_place; write unbook_place(…)."),
        ("nothing", "saga.do takes a call such as reserve(…), not None."),
        ("not entered", "use it inside `async with Saga() as saga:`"),
    ],
)
def test_a_saga_that_is_used_wrongly(what: str, says: str) -> None:
    """A saga refuses at once what it cannot do or undo, before anything is requested."""
    stage = Stage(flows.mistakes_a_saga)
    stage.start(flows.mistakes_a_saga, what)
    assert says in stage.described()["failure"]["message"]
    assert "ActivityScheduled" not in stage.events()
