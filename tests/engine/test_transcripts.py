"""Does the engine still tell the same stories? Inputs and decisions as text, to be read by a reviewer.

`PENSTOCK_REWRITE=1 pytest tests/engine/test_transcripts.py` writes tests/transcripts/*.txt anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.engine.runtime.reads import plain
from penstock.schemas.encoding.codec import decode
from penstock.schemas.failure import Failure
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, StartWorkflow, TerminateWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from tests.engine.core import flows
from tests.engine.stage import START_MS, Stage

FOLDER = Path(__file__).parents[1] / "transcripts"
KEPT = ("tasks", "commands", "replies", "completions", "dead-letters")
DULL = {"traceback", "python", "flags", "causes", "retry", "workflow_id", "run_id", "message_id", "shard", "worker"}


class Story:
    """A stage whose inputs and outputs are written down."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.lines: list[str] = []

    def say(self, what: str, do: Callable[[], Any]) -> None:
        """Give an input; write down what was decided and sent."""
        before = {kind: len(self.stage.sent.get(kind, ())) for kind in (*KEPT, "events")}
        do()
        seconds = (self.stage.now_ms - START_MS) / 1000
        self.lines.append(f"{seconds:g} s  {what}")
        for record in self.stage.sent.get("events", [])[before["events"] :]:
            self.lines.append(f"    decides for {record.workflow_id}")
            for number, data in enumerate(record.events, record.first_sequence):
                event = decode(data)
                label = f"{number:>3}" if record.first_sequence else "  -"
                self.lines.append(f"    {label}  {type(event).__name__}{_fields(event)}")
        for kind in KEPT:
            for record in self.stage.sent.get(kind, [])[before[kind] :]:
                self.lines.append(f"      → {kind}: {type(record).__name__}{_fields(record)}")

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def _fields(record: Any) -> str:
    empty = ("", None, [], {}, 0, -1)
    told = {name: value for name, value in plain(record).items() if name not in DULL and value not in empty}
    for name in ("due_ms", "retry_ms", "started_ms", "closed_ms", "at_ms"):
        if name in told:
            told[name.replace("_ms", "_s")] = (told.pop(name) - START_MS) / 1000
    for name in ("value", "failure"):  # encoded records of their own: not for reading here
        if isinstance(getattr(record, name, None), bytes):
            told.pop(name, None)
    if isinstance(told.get("failure"), dict):
        told["failure"] = f"{told['failure']['type']}: {told['failure']['message']}"
    return "".join(f" {name}={value}" for name, value in told.items())


def _one_order() -> Story:
    stage = Stage(flows.retried)
    story = Story(stage)
    story.say("somebody starts run-1", lambda: stage.start(flows.retried, 1, reply_to=0))
    task = stage.sent["tasks"][-1]
    story.say("the worker says the attempt failed", lambda: stage.fail(task, Failure(type="app.Busy", message="busy")))
    story.say("a second passes", lambda: stage.advance(1))
    again = stage.sent["tasks"][-1]
    story.say("a late copy of the first attempt's result comes", lambda: stage.complete(task, 6))
    story.say("the second attempt's result comes", lambda: stage.complete(again, 7))
    story.say("somebody asks for the result", lambda: stage.tell(AwaitResult(workflow_id="run-1", reply_to=0)))
    return story


def _a_saga_cancelled() -> Story:
    stage = Stage(flows.travel)
    story = Story(stage)
    story.say("somebody starts run-1", lambda: stage.start(flows.travel, ["hotel", "car"]))
    story.say("the hotel is booked", lambda: stage.complete(stage.sent["tasks"][-1], "hotel"))
    story.say("the car is booked", lambda: stage.complete(stage.sent["tasks"][-1], "car"))
    cancel = CancelWorkflow(workflow_id="run-1", reason="ill", message_id="cancel-1")
    story.say("somebody cancels", lambda: stage.tell(cancel))
    story.say("the car is unbooked", lambda: stage.complete(stage.sent["tasks"][-1], None))
    story.say("the hotel is unbooked", lambda: stage.complete(stage.sent["tasks"][-1], None))
    return story


def _a_child_elsewhere() -> Story:
    stage = Stage(flows.parent, flows.sleeper, flows.five, shards=3)
    story = Story(stage)
    story.say("somebody starts run-1", lambda: stage.start(flows.parent, "kid"))
    end = TerminateWorkflow(workflow_id="kid", reason="wrong number", message_id="end-1")
    story.say("somebody terminates the child", lambda: stage.tell(end))
    return story


def _blocked() -> Story:
    stage = Stage(flows.far_away)
    story = Story(stage)
    story.say("somebody starts run-1, whose queue has no topic", lambda: stage.start(flows.far_away, 1, reply_to=0))

    def make_the_topic() -> None:
        stage.queues.add("elsewhere")
        stage.nodes[0].blocked.try_again("missing_topic")
        stage.tick()

    story.say("the topic is made", make_the_topic)
    return story


def _refused() -> Story:
    stage = Stage(flows.five)
    story = Story(stage)
    unknown = StartWorkflow(workflow_id="x", workflow_type="six", message_id="m1")
    story.say("a start of an unknown type, nobody waiting", lambda: stage.tell(unknown))
    asked = SignalWorkflow(workflow_id="x", signal="go", message_id="m2", reply_to=0)
    story.say("a signal to nobody, somebody waiting", lambda: stage.tell(asked))

    def garbage() -> None:
        stage.put("commands", 0, b"\xc3\x01garbage")
        stage.settle()

    story.say("bytes that are no record", garbage)
    return story


STORIES = {
    "one-command": _one_order,
    "saga-cancelled": _a_saga_cancelled,
    "child-terminated": _a_child_elsewhere,
    "blocked-and-freed": _blocked,
    "refused": _refused,
}


@pytest.mark.parametrize("name", STORIES)
def test_story_is_as_written_down(name: str) -> None:
    """The same inputs give the same decisions, word for word."""
    path = FOLDER / f"{name}.txt"
    told = STORIES[name]().text()
    if os.environ.get("PENSTOCK_REWRITE"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(told)
    assert path.exists(), f"{path} is missing; write it with PENSTOCK_REWRITE=1"
    assert told == path.read_text()
