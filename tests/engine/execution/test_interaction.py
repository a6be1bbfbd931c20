"""Random programs of every primitive: what they do live is what they do replayed, restored at each step, on each log.

A program and a script of what happens from outside are drawn by Hypothesis, whose seed is fixed; to run others, set
PENSTOCK_PROGRAMS (how many) and PENSTOCK_PROGRAMS_SEED, and give pytest `--timeout 0`: its time limit interrupts
whatever runs, which may be the workflow code of one side alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from penstock.engine.authoring.definition import registered_workflows
from penstock.engine.execution.replayer import rebuild
from penstock.engine.runtime import reads
from penstock.schemas.encoding.codec import decode
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.run import CancelWorkflow, InputIgnored, StartWorkflow, WorkflowBlocked
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.records.update import UpdateWorkflow
from penstock.topics.embedded import EmbeddedLog
from penstock.topics.kafka import KafkaLog
from penstock.topics.log import Log
from tests.contract.log_tools import unique
from tests.engine.execution.programs import FAMILIES, PROGRAMS, SCRIPTS, Programmed
from tests.engine.execution.rigs import ID, InMemory, OnLog, Rig, advance, attempts

EXAMPLES = int(os.environ.get("PENSTOCK_PROGRAMS", "60"))
SEED = int(os.environ.get("PENSTOCK_PROGRAMS_SEED", "10"))
ROUNDS_MAX = 60
"""Rounds of work and waiting after which a run whose script has ended must have closed, or wait for a word."""


class Played(msgspec.Struct):
    """What came of a program: decisions, replies, and the answer of a last query."""

    decisions: list[Any]
    replies: list[Any]
    status: str
    read: Any


def play(rig: Rig, program: Any, script: Any, *, batches: bool) -> Played:
    """Run a program and its script, then let time pass and work end until it can go on no more.

    `batches`: commands may be decided together."""
    start = StartWorkflow(
        workflow_id=ID,
        workflow_type="programs-programmed",
        input=msgspec.json.encode({"program": program, "generation": 0}),
        message_id="start",
        reply_to=0,
        await_result=True,
    )
    rig.tell([start])
    batch: list[Any] = []
    wanted = 0
    for number, (name, *values) in enumerate(script):
        if name == "batch":
            wanted = values[0] if batches else 0
            continue
        command = _command(number, name, values)
        batch += command
        if not command or len(batch) >= wanted:
            rig.tell(batch)
            batch, wanted = [], 0
        if name == "advance":
            advance(rig, values[0])
        elif name == "work":
            rig.tell(attempts(rig)[: values[0]])
    rig.tell(batch)
    _drain(rig)
    rig.tell([_query("last", "read")])
    described = reads.describe(rig.store, ID)
    assert described is not None, "it was started"
    last = rig.replies()[-1]
    return Played(
        [_plain(one) for one in rig.decisions()],
        [_reply(one) for one in rig.replies()],
        described["status"],
        getattr(last, "result", last),
    )


def _command(number: int, name: str, values: list[Any]) -> list[Any]:
    message_id = f"m{number}"
    match name:
        case "signal":
            data = msgspec.json.encode(values[1])
            return [SignalWorkflow(workflow_id=ID, signal=values[0], input=data, message_id=message_id)]
        case "update":
            update, n, of, wait_for = values
            data = msgspec.json.encode(n)
            fields: dict[str, Any] = {"message_id": f"u{of}", "reply_to": 0, "wait_for": wait_for}
            return [UpdateWorkflow(workflow_id=ID, update=update, input=data, **fields)]
        case "query":
            return [_query(message_id, values[0])]
        case "cancel":
            return [CancelWorkflow(workflow_id=ID, message_id=f"c{values[0]}", reason=f"reason {values[0]}")]
    return []


def _query(message_id: str, name: str) -> QueryWorkflow:
    return QueryWorkflow(workflow_id=ID, query=name, input=b"null", message_id=message_id, reply_to=0)


def _drain(rig: Rig) -> None:
    for _ in range(ROUNDS_MAX):
        results = attempts(rig)
        rig.tell(results)
        if not results:
            before_ms = rig.now_ms
            advance(rig, 5)
            if reads.pending_work(rig.store).due is None and not attempts(rig):
                return
            assert rig.now_ms > before_ms


def _plain(record: DecisionRecorded) -> Any:
    """A decision without what differs between logs: offsets, and when the log received an input."""
    events = [decode(data) for data in record.events]
    blocked = [event.message for event in events if isinstance(event, WorkflowBlocked)]
    assert not blocked, blocked
    if isinstance(events[0], InputIgnored):
        return (record.run_id, "ignored", events[0].reason)
    shown = [(type(event).__name__, _stripped(event)) for event in events]
    return (record.run_id, record.now_ms, record.trigger.message_id, record.first_sequence, shown, record.listening)


def _stripped(value: Any) -> Any:
    """Records as values, without tracebacks: their lines differ where code runs under a tracer."""
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__ if name != "traceback"}
        return {name: _stripped(one) for name, one in fields.items()}
    return [_stripped(one) for one in value] if isinstance(value, list | tuple) else value


def _reply(reply: Any) -> Any:
    return (type(reply).__name__, _stripped(reply))


def replay(rig: InMemory) -> None:
    """Repeat the history of every run, and of its children, with the same code. Raises NonDeterminism."""
    histories: dict[tuple[str, str], list[DecisionRecorded]] = {}
    for record in rig.decisions():
        if record.first_sequence:
            histories.setdefault((record.workflow_id, record.run_id), []).append(record)
    for (workflow_id, run_id), records in histories.items():
        definition: Any = registered_workflows()[decode(records[0].events[0]).workflow_type]
        rebuild(definition, workflow_id, run_id, records, strict_inputs=True).execution.close()


def played(rig: Rig, program: Any, script: Any, *, batches: bool = True) -> Played:
    """`play`, and close the rig."""
    try:
        return play(rig, program, script, batches=batches)
    finally:
        rig.close()


def compared(examples: int) -> Any:
    """Settings of a comparison: seeded, and without limits of time, since machines differ."""
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        print_blob=True,
    )


@seed(SEED)
@compared(EXAMPLES)
@given(program=FAMILIES, script=SCRIPTS)
def test_live_is_replayed_is_restored(program: Any, script: Any) -> None:
    """Decisions, replies and answers of a run that stays in memory are those of one that is rebuilt from its history
    after every decision, and its history replays."""
    live = InMemory()
    first = played(live, program, script)
    replay(live)
    assert played(InMemory(restarts=True), program, script) == first


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    """An embedded log in a file."""
    folder: Path = tmp_path_factory.mktemp("programs")
    log = EmbeddedLog(str(folder / "log"))
    yield log
    log.close()


@seed(SEED)
@compared(max(1, EXAMPLES // 6))
@given(program=PROGRAMS, script=SCRIPTS)
def test_the_embedded_log_gives_the_same(embedded: Log, program: Any, script: Any) -> None:
    """On the embedded log, with transactions of a driver, a run decides, answers and replies as in memory."""
    assert played(OnLog(embedded, unique("programs")), program, script) == played(InMemory(), program, script)


@pytest.fixture(scope="module")
def kafka(kafka_bootstrap: str) -> Iterator[Log]:
    """A log on Kafka."""
    log = KafkaLog(kafka_bootstrap, {})
    yield log
    log.close()


@seed(SEED)
@compared(3)
@given(program=PROGRAMS, script=SCRIPTS)
def test_kafka_gives_the_same(kafka_bootstrap: str, kafka: Log, program: Any, script: Any) -> None:
    """On Kafka, a run decides, answers and replies as in memory."""
    rig = OnLog(kafka, unique("programs"), wait_s=0.02)
    assert played(rig, program, script, batches=False) == played(InMemory(), program, script, batches=False)


def test_every_primitive_is_drawn() -> None:
    """Programs have every step that the interpreter knows, and scripts every kind of input."""
    drawn: set[str] = set()

    @seed(SEED)
    @compared(300)
    @given(program=FAMILIES, script=SCRIPTS)
    def collect(program: Any, script: Any) -> None:
        drawn.update(_names(program), (name for name, *_ in script))

    collect()
    steps = {name.removeprefix("_") for name in vars(Programmed) if name.startswith("_") and not name.startswith("__")}
    assert drawn == (steps - {"check"}) | {"signal", "update", "query", "advance", "work", "batch", "cancel"}


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        if value and isinstance(value[0], str):
            yield value[0]
        for one in value:
            yield from _names(one)
