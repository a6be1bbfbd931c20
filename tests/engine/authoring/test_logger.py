"""Tests of the logger of workflow code."""

from __future__ import annotations

import structlog

from penstock.engine.authoring.logger import logger
from penstock.engine.authoring.workflow import workflow
from tests.engine.core import flows
from tests.engine.stage import Stage


@workflow
async def logs_twice() -> str:
    bound = logger.bind(step="one")
    bound.info("begun", user="ann")
    await flows.go.wait()
    bound.warning("going on")
    return "done"


def _lines(captured: list) -> list:
    return [line for line in captured if line["event"] in {"begun", "going on"}]


def test_a_line_is_logged_once() -> None:
    """A line is logged with its run's ids, and not again when the run is rebuilt from its history."""
    with structlog.testing.capture_logs() as captured:
        stage = Stage(logs_twice)
        stage.start(logs_twice, message_id="m")
        stage.nodes[0].runs.clear()
        stage.signal("go")
    ids = {"workflow_id": "run-1", "run_id": "m", "step": "one"}
    assert _lines(captured) == [
        {"event": "begun", "user": "ann", "log_level": "info", **ids},
        {"event": "going on", "log_level": "warning", **ids},
    ]
    assert stage.described()["status"] == "completed"


def test_outside_of_workflows_it_is_an_ordinary_logger() -> None:
    """Elsewhere a line has the fields that it was given."""
    with structlog.testing.capture_logs() as captured:
        logger.bind(step="one").error("begun", user="ann")
    assert captured == [{"event": "begun", "user": "ann", "step": "one", "log_level": "error"}]


def test_an_exception_has_its_traceback() -> None:
    """`exception` logs the exception that is being handled, at level `error`."""
    with structlog.testing.capture_logs() as captured:
        try:
            raise KeyError("x")
        except KeyError:
            logger.exception("begun")
    assert captured == [{"event": "begun", "exc_info": True, "log_level": "error"}]


def test_a_line_that_cannot_be_written_costs_nothing() -> None:
    """A processor of log lines that raises does not change the run."""

    def broken(*_: object) -> dict:
        raise RuntimeError("no disk")

    before = structlog.get_config()
    structlog.configure(processors=[broken])
    try:
        stage = Stage(logs_twice)
        stage.start(logs_twice)
        stage.signal("go")
    finally:
        structlog.configure(**before)
    assert stage.described()["status"] == "completed"
