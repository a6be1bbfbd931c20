"""Tests of sizes: each limit is raised where a value is handed over, and what a run keeps is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.engine.authoring.external import get_run
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.keys import run_key
from penstock.schemas.errors import PayloadTooLarge, WorkflowFailedError
from penstock.schemas.failure import Cause, Failure
from penstock.schemas.records.child import ResolveChild
from penstock.schemas.records.run import CancelWorkflow, TerminateWorkflow
from penstock.schemas.values.payload import PAYLOAD_BYTES_MAX, REASON_CHARS_MAX
from tests.engine.core import flows
from tests.engine.stage import Stage

FAILURE_BYTES_MAX = 200_000
HUGE = Failure(
    type="T" * 40_000,
    message="é" * 100_000,
    traceback="é" * 100_000,
    causes=tuple(Cause(type="C" * 4_000, message="é" * 8_000) for _ in range(40)),
    non_retryable=True,
)
note = Signal("sizes-note", str)


@workflow
async def sizes_result(count: int) -> str:
    await flows.add(1, 1)
    return "x" * count


@pytest.mark.parametrize("count", [PAYLOAD_BYTES_MAX - 2, PAYLOAD_BYTES_MAX - 1, 5_000_000])
def test_a_result_over_the_limit_blocks_its_run(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workflow that returns too much is BLOCKED with the sizes, keeps its work, and completes with mended code."""
    stage = Stage(sizes_result)
    stage.start(sizes_result, count)
    stage.run(add=lambda a, b: a + b)
    if count == PAYLOAD_BYTES_MAX - 2:
        assert stage.described()["status"] == "completed"
        return
    described = stage.described()
    assert described["blocked_reason"] == "code_error"
    assert f"the result of sizes_result: the value takes {count + 2:,} bytes as JSON" in described["blocked_message"]
    original = sizes_result.fn
    monkeypatch.setattr(sizes_result, "fn", lambda count: original(1))
    stage.restart()
    assert stage.described()["result"] == "x"
    assert stage.events().count("ActivityScheduled") == 1


@workflow
async def sizes_sends(what: str) -> str:
    try:
        if what == "signal":
            get_run("other").signal(note, "x" * PAYLOAD_BYTES_MAX)
        else:
            get_run("other").cancel("x" * (REASON_CHARS_MAX + 1))
    except PayloadTooLarge as error:
        return str(error)
    return "sent"


@pytest.mark.parametrize(
    ("what", "says"), [("signal", "the value of signal sizes-note"), ("cancel", "The reason has 2,001 characters")]
)
def test_what_code_sends_is_refused_in_the_code(what: str, says: str) -> None:
    """A signal or a reason for another run that is over its limit raises where code hands it over."""
    stage = Stage(sizes_sends)
    stage.start(sizes_sends, what)
    assert says in stage.described()["result"]


@workflow
async def sizes_fails() -> None:
    raise WorkflowFailedError(failure=HUGE)


@workflow
async def sizes_parent() -> None:
    await flows.five(1).options(id="kid")


def _of_an_activity(stage: Stage) -> None:
    stage.start(flows.five, 1)
    stage.fail(stage.take("tasks")[0], HUGE)


def _of_an_attempt(stage: Stage) -> None:
    stage.start(flows.five, 1)
    stage.fail(stage.take("tasks")[0], Failure(type="E", message=HUGE.message, causes=HUGE.causes))


def _of_the_code(stage: Stage) -> None:
    stage.start(sizes_fails)


def _of_a_child(stage: Stage) -> None:
    run_id = stage.start(sizes_parent)
    ended: dict[str, Any] = {"child_workflow_id": "kid", "child_run_id": "any", "status": "failed", "failure": HUGE}
    stage.tell(ResolveChild(workflow_id="run-1", run_id=run_id, sequence=1, message_id="m", **ended))


@pytest.mark.parametrize("made", [_of_an_activity, _of_an_attempt, _of_the_code, _of_a_child])
def test_a_failure_of_any_origin_is_bounded(made: Any) -> None:
    """A failure that a foreign worker, a child or the code made is shortened before it is kept, with all its causes."""
    stage = Stage(flows.five, sizes_fails, sizes_parent)
    made(stage)
    described = stage.described()
    assert described["status"] == ("running" if made is _of_an_attempt else "failed")
    rows = [value for key, value in stage.stores[0].scan(b"", b"\xff") if not key.startswith(b"H")]
    assert max(map(len, rows)) < FAILURE_BYTES_MAX


@pytest.mark.parametrize("command", [CancelWorkflow, TerminateWorkflow])
def test_a_foreign_reason_is_shortened(command: Any) -> None:
    """A reason of any length, which a foreign producer gave, ends the run with as much of it as is kept."""
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.tell(command(workflow_id="run-1", reason="é" * 400_000, message_id="m"))
    assert stage.described()["status"] in {"cancelled", "terminated"}
    assert len(stage.described()["reason"]) == REASON_CHARS_MAX
    header = stage.stores[0].get(run_key("run-1"))
    assert header is not None
    assert len(header) < 10_000
