"""Is every transition of every machine real? A row that no scenario reaches has no business in its table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.engine.core.machines import activity, child, run, timer
from penstock.schemas.failure import Failure
from penstock.schemas.records.run import CancelWorkflow, RetryWorkflow, TerminateWorkflow
from tests.engine.core import flows
from tests.engine.stage import Stage

MACHINES = {"run": run, "activity": activity, "timer": timer, "child": child}
HARD = Failure(type="app.Refused", message="no", non_retryable=True)
SOFT = Failure(type="app.Refused", message="no")


class _Recorder(dict[Any, Any]):
    """A table that remembers which of its rows were used."""

    def __init__(self, table: dict[Any, Any]) -> None:
        super().__init__(table)
        self.used: set[Any] = set()

    def __getitem__(self, key: Any) -> Any:
        self.used.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        if super().__contains__(key):
            self.used.add(key)
            return True
        return False


def _completed() -> None:
    stage = Stage(flows.parent, flows.five)
    stage.start(flows.parent, "kid")
    stage.run(add=lambda a, b: a + b)


def _failed_after_retries() -> None:
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    (task,) = stage.take("tasks")
    stage.fail(task, SOFT)
    stage.advance(1)
    (task,) = stage.take("tasks")
    stage.fail(task, HARD)


def _failed() -> None:
    Stage(flows.failing).start(flows.failing, 1)


def _cancelled_with_its_child() -> None:
    stage = Stage(flows.parent, flows.five)
    stage.start(flows.parent, "kid")
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))


def _cancelled_while_an_attempt_waits() -> None:
    stage = Stage(flows.retried)
    stage.start(flows.retried, 1)
    (task,) = stage.take("tasks")
    stage.fail(task, SOFT)
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))


def _child_failed() -> None:
    stage = Stage(flows.parent, flows.five)
    stage.start(flows.parent, "kid")
    stage.tell(TerminateWorkflow(workflow_id="kid", message_id="m"))


def _terminated() -> None:
    stage = Stage(flows.approved)
    stage.start(flows.approved)
    stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="m"))


def _timers() -> None:
    for answered in (True, False):
        stage = Stage(flows.approved)
        stage.start(flows.approved)
        if answered:
            stage.signal("price", 1)
        stage.advance(3600)


def _blocked_and_terminated_or_freed() -> None:
    for freed in (True, False):
        stage = Stage(flows.far_away)
        stage.start(flows.far_away, 1)
        if freed:
            stage.queues.add("elsewhere")
            stage.tell(RetryWorkflow(workflow_id="run-1", message_id="m"))
        else:
            stage.tell(TerminateWorkflow(workflow_id="run-1", message_id="m"))


SCENARIOS: list[Callable[[], None]] = [
    _completed,
    _failed_after_retries,
    _failed,
    _cancelled_with_its_child,
    _cancelled_while_an_attempt_waits,
    _child_failed,
    _terminated,
    _timers,
    _blocked_and_terminated_or_freed,
]


@pytest.mark.parametrize("name", MACHINES)
def test_every_row_is_reached(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenarios together use every row of the machine's table."""
    machine = MACHINES[name]
    recorder = _Recorder(machine.TRANSITIONS)
    monkeypatch.setattr(machine, "TRANSITIONS", recorder)
    for scenario in SCENARIOS:
        scenario()
    unused = [f"{state} --{event.__name__}" for state, event in set(recorder) - recorder.used]
    assert unused == []
