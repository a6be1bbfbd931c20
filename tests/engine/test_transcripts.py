"""Transcripts of the engine: inputs and decisions as text, for reviewers to read.

`PENSTOCK_REWRITE=1 pytest tests/engine/test_transcripts.py` rewrites tests/transcripts/*.txt.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.engine.authoring.children import start_child
from penstock.engine.authoring.describing import details, set_search
from penstock.engine.authoring.workflow import workflow
from penstock.engine.runtime.reads import plain
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.failure import Failure
from penstock.schemas.records.note import DetailsSet
from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, StartWorkflow, TerminateWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.records.update import UpdateWorkflow
from penstock.schemas.values.attributes import encode_memo, encode_search
from penstock.schemas.values.retry import RetryPolicy
from penstock.topics.partitioner import partition_of
from tests.engine.core import counters, flows
from tests.engine.stage import START_MS, Stage

FOLDER = Path(__file__).parents[1] / "transcripts"
KEPT = ("tasks", "commands", "replies", "completions", "dead-letters")
DULL = {"traceback", "python", "flags", "causes", "retry", "workflow_id", "run_id", "message_id", "shard", "worker"}


class Transcript:
    """A stage with a record of its inputs and outputs in words."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.lines: list[str] = []

    def note(self, what: str, do: Callable[[], Any]) -> None:
        """Give an input; record what was decided and sent."""
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
    shown = {name: value for name, value in plain(record).items() if name not in DULL and value not in empty}
    for name in ("due_ms", "retry_ms", "started_ms", "closed_ms", "at_ms", "begins_ms", "until_ms", "awaited_until_ms"):
        if name in shown:
            shown[name.replace("_ms", "_s")] = (shown.pop(name) - START_MS) / 1000
    for name in ("value", "failure"):  # encoded records of their own, left out
        if isinstance(getattr(record, name, None), bytes) and not isinstance(record, DetailsSet):
            shown.pop(name, None)
    if isinstance(shown.get("failure"), dict):
        shown["failure"] = f"{shown['failure']['type']}: {shown['failure']['message']}"
    return "".join(f" {name}={value}" for name, value in shown.items())


def _one_command() -> Transcript:
    stage = Stage(flows.retried)
    transcript = Transcript(stage)
    transcript.note("a client starts run-1", lambda: stage.start(flows.retried, 1, reply_to=0))
    task = stage.sent["tasks"][-1]
    transcript.note(
        "the worker reports a failed attempt", lambda: stage.fail(task, Failure(type="app.Busy", message="busy"))
    )
    transcript.note("a second passes", lambda: stage.advance(1))
    again = stage.sent["tasks"][-1]
    transcript.note("a late copy of the first attempt's result arrives", lambda: stage.complete(task, 6))
    transcript.note("the second attempt's result arrives", lambda: stage.complete(again, 7))
    transcript.note("a client awaits the result", lambda: stage.tell(AwaitResult(workflow_id="run-1", reply_to=0)))
    return transcript


def _a_saga_cancelled() -> Transcript:
    stage = Stage(flows.travel)
    transcript = Transcript(stage)
    transcript.note("a client starts run-1", lambda: stage.start(flows.travel, ["hotel", "car"]))
    transcript.note("the hotel is booked", lambda: stage.complete(stage.sent["tasks"][-1], "hotel"))
    transcript.note("the car is booked", lambda: stage.complete(stage.sent["tasks"][-1], "car"))
    cancel = CancelWorkflow(workflow_id="run-1", reason="ill", message_id="cancel-1")
    transcript.note("a client cancels", lambda: stage.tell(cancel))
    transcript.note("the car is unbooked", lambda: stage.complete(stage.sent["tasks"][-1], None))
    transcript.note("the hotel is unbooked", lambda: stage.complete(stage.sent["tasks"][-1], None))
    return transcript


def _a_child_elsewhere() -> Transcript:
    stage = Stage(flows.parent, flows.sleeper, flows.five, shards=3)
    transcript = Transcript(stage)
    transcript.note("a client starts run-1", lambda: stage.start(flows.parent, "kid"))
    end = TerminateWorkflow(workflow_id="kid", reason="wrong number", message_id="end-1")
    transcript.note("a client terminates the child", lambda: stage.tell(end))
    return transcript


@workflow(name="handle")
async def handle(id: str) -> str:
    kid = await start_child(flows.approved(), id=id, parent_close="terminate")
    await flows.go.wait()
    kid.signal(flows.price, 7)
    return await kid.result()


def _a_child_with_a_handle() -> Transcript:
    stage = Stage(handle, flows.approved, shards=3)
    transcript = Transcript(stage)
    transcript.note("a client starts run-1, which starts a child", lambda: stage.start(handle, "kid"))
    transcript.note("a signal lets run-1 signal its child, whose result it awaits", lambda: stage.signal("go"))
    return transcript


def _an_overtaken_start() -> Transcript:
    stage = Stage(flows.approved, shards=2)
    transcript = Transcript(stage)
    own = partition_of("run-1", 2)
    signal = SignalWorkflow(workflow_id="run-1", signal="price", input=b"7", message_id="signal-1")
    start = StartWorkflow(workflow_id="run-1", workflow_type="approved", message_id="start-1")

    def write() -> None:
        stage.put("commands", 1 - own, encode(start))
        stage.put("commands", own, encode(signal))
        stage.settle()

    transcript.note("a producer writes a start to the wrong shard, and a signal to the right one", write)
    late = SignalWorkflow(workflow_id="run-2", signal="price", input=b"7", message_id="signal-2")
    transcript.note("a signal comes for an id that no start follows", lambda: stage.tell(late))
    transcript.note("ten seconds pass", lambda: stage.advance(10))
    return transcript


def _blocked() -> Transcript:
    stage = Stage(flows.far_away)
    transcript = Transcript(stage)
    transcript.note("a client starts run-1; its queue has no topic", lambda: stage.start(flows.far_away, 1, reply_to=0))

    def create_the_topic() -> None:
        stage.queues.add("elsewhere")
        stage.nodes[0].blocked.try_again("missing_topic")
        stage.tick()

    transcript.note("the topic is created", create_the_topic)
    return transcript


def _refused() -> Transcript:
    stage = Stage(flows.five)
    transcript = Transcript(stage)
    unknown = StartWorkflow(workflow_id="x", workflow_type="six", message_id="m1")
    transcript.note("a start of an unknown type that asks for no reply", lambda: stage.tell(unknown))
    asked = SignalWorkflow(workflow_id="x", signal="go", message_id="m2", reply_to=0)
    transcript.note("a signal to an unknown run that asks for a reply", lambda: stage.tell(asked))

    def garbage() -> None:
        stage.put("commands", 0, b"\xc3\x01garbage")
        stage.settle()

    transcript.note("bytes that are no record", garbage)
    return transcript


def _ask(stage: Stage, name: str) -> Callable[[], None]:
    asked = QueryWorkflow(workflow_id="run-1", query=name, reply_to=0, message_id=f"query-{name}")
    return lambda: stage.tell(asked)


def _update(stage: Stage, name: str, value: Any = None, **fields: Any) -> Callable[[], None]:
    data = msgspec.json.encode(value)
    asked = UpdateWorkflow(workflow_id="run-1", update=name, input=data, reply_to=0, **fields)
    return lambda: stage.tell(asked)


def _queries_and_updates() -> Transcript:
    stage = Stage(counters.Counter)
    transcript = Transcript(stage)
    transcript.note("a client starts run-1", lambda: stage.start(counters.Counter, 1, reply_to=0))
    transcript.note("a client asks for the number", _ask(stage, "get"))
    transcript.note("an update is rejected by its validator", _update(stage, "set_to", 13, message_id="u1"))
    transcript.note("an update is answered at once", _update(stage, "set_to", 5, message_id="u2"))
    transcript.note("the same update again", _update(stage, "set_to", 5, message_id="u2"))
    transcript.note(
        "an update awaits an activity; its caller waits until it is accepted",
        _update(stage, "pay", 7, message_id="u3", wait_for="accepted"),
    )
    transcript.note("its caller asks for the result", _update(stage, "pay", 7, message_id="u3"))
    transcript.note("the activity has completed", lambda: stage.complete(stage.sent["tasks"][-1], 70))
    transcript.note("an update whose handler raises", _update(stage, "raises", message_id="u4"))
    transcript.note("a signal has a handler", lambda: stage.signal("close"))
    transcript.note("a client asks for the number of the closed run", _ask(stage, "get"))
    return transcript


def _a_held_update() -> Transcript:
    stage = Stage(counters.words)
    transcript = Transcript(stage)
    transcript.note("a client starts run-1", lambda: stage.start(counters.words, reply_to=0))
    transcript.note(
        "an update comes before the code has a handler for it",
        _update(stage, "counters-add", "one", message_id="u1"),
    )
    transcript.note("the code registers the handler", lambda: stage.signal("counters-open"))
    return transcript


def _started_with() -> Transcript:
    stage = Stage(counters.Counter)
    transcript = Transcript(stage)

    def start(**fields: Any) -> Callable[[], Any]:
        return lambda: stage.start(counters.Counter, 1, reply_to=0, on_existing="restart_closed", **fields)

    transcript.note("a start with a signal, of an id without a run", start(signal="increase", handed=b"4"))
    transcript.note("the same with another signal: the run is there", start(signal="increase", handed=b"5"))
    handed = {"update": "set_to", "handed": b"2", "await_result": True}
    transcript.note("a start with an update, whose caller waits for its result", start(**handed))
    return transcript


def _a_delayed_start() -> Transcript:
    stage = Stage(counters.Counter)
    transcript = Transcript(stage)
    transcript.note(
        "a start that begins in ten minutes, with a run timeout of a minute; its caller awaits the result",
        lambda: stage.start(
            counters.Counter, 1, reply_to=0, start_delay_ms=600_000, run_timeout_ms=60_000, await_result=True
        ),
    )
    transcript.note("a signal comes meanwhile", lambda: stage.signal("increase", 1))
    transcript.note("ten minutes pass", lambda: stage.advance(600))
    transcript.note("a minute passes", lambda: stage.advance(60))
    return transcript


def _a_chain() -> Transcript:
    stage = Stage(counters.words)
    transcript = Transcript(stage)
    memo, search = encode_memo({"by": "ann"}), encode_search({"customer": "c1"})
    transcript.note(
        "a client starts run-1 with memo and search attributes, and awaits its result",
        lambda: stage.start(counters.words, reply_to=0, await_result=True, memo=memo, search=search),
    )
    transcript.note("the code takes words from now on", lambda: stage.signal("counters-open"))
    transcript.note("it continues as new", lambda: stage.signal("counters-word", "stop"))
    transcript.note("the code takes words from now on", lambda: stage.signal("counters-open"))
    transcript.note("the chain ends", lambda: stage.signal("counters-word", "end"))
    return transcript


def _a_run_tried_again() -> Transcript:
    stage = Stage(flows.failing)
    transcript = Transcript(stage)
    retry = RetryPolicy(retries_max=1, delays_ms=(1_000,))
    transcript.note(
        "a client starts run-1, which fails", lambda: stage.start(flows.failing, 1, reply_to=0, retry=retry)
    )
    transcript.note("a second passes, and it fails again", lambda: stage.advance(1))
    return transcript


@workflow(name="transcripts-described")
async def described() -> None:
    while (number := await flows.price.wait()) > 0:
        details({"step": number})
        set_search(step=number)


def _a_described_run() -> Transcript:
    stage = Stage(described)
    transcript = Transcript(stage)
    memo, search = encode_memo({"by": "ann"}), encode_search({"customer": "c1", "step": 0})
    transcript.note(
        "a client starts run-1 with memo and search attributes",
        lambda: stage.start(described, reply_to=0, memo=memo, search=search),
    )
    transcript.note("the code says how far it is", lambda: stage.signal("price", 1))
    transcript.note("it says the same again: nothing is recorded", lambda: stage.signal("price", 1))
    transcript.note("it says something else", lambda: stage.signal("price", 2))
    transcript.note("the run ends", lambda: stage.signal("price", 0))
    refused = encode_search({"customer": "c1"}).replace(b"customer", b"status")
    transcript.note(
        "a start whose search attribute has the name of a column",
        lambda: stage.start(described, id="run-2", reply_to=0, search=refused),
    )
    return transcript


TRANSCRIPTS = {
    "one-command": _one_command,
    "saga-cancelled": _a_saga_cancelled,
    "child-terminated": _a_child_elsewhere,
    "child-with-a-handle": _a_child_with_a_handle,
    "start-overtaken": _an_overtaken_start,
    "blocked-and-freed": _blocked,
    "refused": _refused,
    "queries-and-updates": _queries_and_updates,
    "update-held": _a_held_update,
    "started-with": _started_with,
    "delayed-start": _a_delayed_start,
    "continued-as-new": _a_chain,
    "run-tried-again": _a_run_tried_again,
    "described": _a_described_run,
}


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_transcript_is_unchanged(name: str) -> None:
    """The same inputs give the same decisions, word for word."""
    path = FOLDER / f"{name}.txt"
    text = TRANSCRIPTS[name]().text()
    if os.environ.get("PENSTOCK_REWRITE"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{path} is missing; write it with PENSTOCK_REWRITE=1"
    assert text == path.read_text()
