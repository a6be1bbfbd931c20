"""Tests of chains of runs that failed and are tried again."""

from __future__ import annotations

from penstock.engine.authoring.handlers import Update
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.schemas.errors import WorkflowFailedError
from penstock.schemas.records.update import UpdateWorkflow
from penstock.schemas.values.retry import RetryPolicy
from tests.engine.core import flows
from tests.engine.stage import Stage

late_name = Update("late_name", str, str)
TWICE = RetryPolicy(retries_max=2, delays_ms=(5_000,), factor=1.0)


@workflow
async def fails_late(note: str) -> str:
    await sleep(1)
    raise WorkflowFailedError(f"refused {note}")


def test_a_failed_run_is_tried_again_with_its_input() -> None:
    """After each delay another run of the chain begins with the same input, until no retry is left."""
    stage = Stage(fails_late)
    runs = {stage.start(fails_late, "ann", retry=TWICE)}
    for _ in range(20):
        stage.advance(1)
        runs.add(stage.described()["run_id"])
    assert len(runs) == 3
    assert stage.history()[0]["input"] == "ann"
    assert stage.described()["failure"]["message"] == "refused ann"
    assert stage.history()[0]["retries"] == 2


def test_a_run_that_fails_at_once_is_tried_again() -> None:
    """A failure in the activation that starts the run is retried as any other."""
    stage = Stage(flows.failing)
    first = stage.start(flows.failing, 7, retry=TWICE)
    assert stage.described()["run_id"] != first
    stage.advance(11)
    assert stage.described()["failure"]["message"] == "rejected 7"


def test_the_history_of_a_failed_try_is_kept() -> None:
    """Each try has a history of its own, which names the run that follows it."""
    stage = Stage(flows.failing)
    stage.start(flows.failing, 7, retry=TWICE)
    second = stage.described()["run_id"]
    stage.advance(6)
    (*_, failed) = stage.history(run_id=second)
    assert (failed["event"], failed["next_run_id"]) == ("WorkflowFailed", stage.described()["run_id"])


def test_a_signal_that_a_failed_run_had_not_read_goes_along() -> None:
    """Unread signals are delivered to the next try."""
    stage = Stage(fails_late)
    stage.start(fails_late, "ann", retry=TWICE)
    stage.signal("word", "hello")
    stage.advance(1)
    assert stage.events() == ["WorkflowStarted", "SignalReceived"]


def test_a_held_update_fails_with_its_run() -> None:
    """An update that a failed run held is answered with its failure; the next try does not get it."""
    stage = Stage(fails_late)
    stage.start(fails_late, "ann", retry=TWICE)
    command = UpdateWorkflow(
        workflow_id="run-1", update="late_name", input=b'"x"', message_id="u", reply_to=0, timeout_ms=60_000
    )
    stage.tell(command)
    stage.advance(1)
    (closed,) = stage.take("replies")
    assert (closed.message_id, closed.failure.kind) == ("u", "failed")


def test_a_repeated_start_finds_its_chain() -> None:
    """The same start message again joins the chain that it began."""
    stage = Stage(flows.failing)
    first = stage.start(flows.failing, 7, retry=TWICE)
    second = stage.described()["run_id"]
    stage.start(flows.failing, 7, retry=TWICE, message_id=first)
    assert stage.described()["run_id"] == second


def test_restart_failed_starts_anew_after_a_failure_alone() -> None:
    """`restart_failed` begins another run after one that failed, and joins one that completed or is open."""
    stage = Stage(flows.failing, flows.approved)
    first = stage.start(flows.failing, 1)
    second = stage.start(flows.failing, 2, on_existing="restart_failed")
    assert stage.described()["run_id"] == second != first
    opened = stage.start(flows.approved, id="other")
    stage.start(flows.approved, id="other", on_existing="restart_failed")
    stage.signal("price", 1, id="other")
    stage.start(flows.approved, id="other", on_existing="restart_failed")
    assert stage.described("other")["run_id"] == opened
