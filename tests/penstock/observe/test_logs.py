"""Tests of the format and destination of log lines."""

import io
import json
import logging

import pytest
import structlog

from penstock.observe import logs


@pytest.fixture(autouse=True)
def _restored():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def test_json():
    """A JSON line is an object with the bound workflow id and the keys of the call."""
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    with structlog.contextvars.bound_contextvars(workflow_id="order-1"):
        structlog.get_logger("a.b").warning("activity failed", message="no funds", name_of="ü")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["message"], line["workflow_id"], line["level"], line["logger"], line["name_of"]) == (
        "activity failed", "no funds", "order-1", "warning", "a.b", "ü",
    )  # fmt: skip


def test_records_of_the_standard_library():
    """Records of the standard library's logging have the same format, with tracebacks."""
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    try:
        raise ValueError("no luck")
    except ValueError:
        logging.getLogger("theirs").exception("it %s", "failed")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["exception"][0]["exc_value"]) == ("it failed", "error", "no luck")


def test_levels():
    """Lines below the level are not written, nor those of HTTP libraries below warning."""
    stream = io.StringIO()
    logs.configure("console", "info", stream)
    structlog.get_logger("ours").debug("quiet")
    logging.getLogger("httpx").info("quiet")
    logging.getLogger("uvicorn.error").info("quiet")
    structlog.get_logger("ours").info("loud", workflow_id="order-1")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()
    assert "order-1" in stream.getvalue()


def test_a_logger_made_before():
    """A logger that was made at import time follows a later configuration."""
    early = structlog.get_logger("early")
    first, second = io.StringIO(), io.StringIO()
    logs.configure("json", "info", first)
    early.info("one")
    logs.configure("json", "info", second)
    early.info("two")
    assert json.loads(first.getvalue())["event"] == "one"
    assert json.loads(second.getvalue())["event"] == "two"


def test_inside_other_programs(capsys, caplog):
    """Without a configuration, lines go to `logging` as text, whatever their keys; stdout stays empty."""
    logs.route_to_logging()
    with caplog.at_level(logging.INFO):
        structlog.get_logger("ours").warning("activity failed", message="no funds", name="x", args=(1,))
    assert "activity failed" in caplog.text
    assert "message='no funds'" in caplog.text
    assert capsys.readouterr().out == ""


def test_inside_programs_with_structlog():
    """A program's own structlog configuration is kept."""
    entries = []
    structlog.configure(
        processors=[lambda _, __, event_dict: entries.append(event_dict) or (_ for _ in ()).throw(structlog.DropEvent)]
    )
    logs.route_to_logging()
    structlog.get_logger("ours").info("theirs")
    assert [entry["event"] for entry in entries] == ["theirs"]
