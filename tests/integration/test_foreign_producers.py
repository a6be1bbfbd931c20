"""Tests of programs without Penstock that start, signal and follow workflows by raw records on Kafka, as kcat's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from penstock.schemas.encoding.codec import decode, decode_command, encode
from penstock.schemas.failure import Failure
from penstock.schemas.records.completions import WorkflowClosed
from penstock.topics.partitioner import partition_of
from tests.integration import checks, flows
from tests.integration.system import ROOT, System, wait_until

# As in the public documents; only broker and namespace are replaced by the test's own.
LINES = (
    r"""echo '{"type":"fulfil","id":"order-7","input":{"id":"order-7","total":12.5,"items":["a"]}}' \
      | kcat -P -b localhost:9092 -t penstock.default.commands -k order-7""",
    r"""echo '{"command":"SignalWorkflow","id":"order-7","signal":"approval","input":{"ok":true,"by":"ann"}}' \
      | kcat -P -b localhost:9092 -t penstock.default.commands -k order-7""",
)

# The lines that follow outcomes, with the program that decodes them, as in the guide.
GUIDE = (ROOT / "docs" / "guides" / "foreign-producers.md").read_text("utf-8")
KEYS_LINE, VALUES_LINE = re.findall(r"^    (kcat -C (?:.*\\\n)?.*)$", GUIDE, flags=re.MULTILINE)
(OUTCOMES,) = re.findall(r"```python\n(# outcomes\.py\n.*?)```", GUIDE, flags=re.DOTALL)
CLOSED_MS = 1_767_225_600_000


@pytest.fixture
def kafka_system(kafka_bootstrap: str, tmp_path: Path) -> Iterator[System]:
    """A fresh namespace of three shards on Kafka."""
    made = System(f"kafka://{kafka_bootstrap}", 3, tmp_path)
    yield made
    made.close()


def test_the_kcat_lines(kafka_system: System) -> None:
    """The kcat lines work as written, and the outcome is on `completions` for a read_committed consumer."""
    system = kafka_system
    dev = system.type("dev", str(ROOT / "examples" / "order.py"))
    system.wait_for_owners("`penstock dev` to have every shard", 1)
    for id, environment in {"order-7": dict(os.environ), "order-8": _with_stand_in(system.data)}.items():
        if shutil.which("kcat", path=environment["PATH"]) is None:
            environment = _with_stand_in(system.data)
        for line in LINES:
            here = line.replace("localhost:9092", _bootstrap(system)).replace("penstock.default.", _prefix(system))
            subprocess.run(["sh", "-c", here.replace("order-7", id)], env=environment, check=True, timeout=60)
    closed = {one.workflow_id: one for one in _completions(system, 4)}
    assert sorted(closed) == ["order-7", "order-8", "ship-order-7", "ship-order-8"]
    for id in ("order-7", "order-8"):
        assert (closed[id].status, json.loads(closed[id].result)) == ("completed", f"TRACK-{id.upper()}")
    runs = checks.histories(checks.decisions(system.log, system.topics, system.shards))
    signals = {id: [event.signal for event in events if hasattr(event, "signal")] for (id, _), events in runs.items()}
    assert signals == {"order-7": ["approval"], "order-8": ["approval"], "ship-order-7": [], "ship-order-8": []}
    dev.terminate()
    assert "stopped" in dev.ended()[1]


@pytest.mark.parametrize("program", ["kcat", "stand-in"])
def test_the_lines_that_follow(kafka_system: System, program: str) -> None:
    """The guide's kcat lines print readably which runs closed, and how, up to the end of `completions`."""
    system = kafka_system
    environment = dict(os.environ)
    if program == "stand-in" or shutil.which("kcat") is None:
        environment = _with_stand_in(system.data)
    producer = Producer({"bootstrap.servers": _bootstrap(system)})
    failure = Failure(type="WorkflowFailed", message="it was not approved")
    for id, why in {"order-7": None, "order-8": failure}.items():
        producer.produce(system.topics.completions, encode(_closed(id, why)), id.encode(), timestamp=CLOSED_MS)
    assert producer.flush(30) == 0
    keys = [line.split() for line in _followed(system, KEYS_LINE, environment)]
    assert sorted(key for _, key in keys) == ["order-7", "order-8"]
    assert all(int(appended_ms) > CLOSED_MS for appended_ms, _ in keys), "the log stamps its records itself"
    assert _followed(system, VALUES_LINE, environment) == [
        'order-7 completed "2000.00 paid for order-7"',
        "order-8 failed it was not approved",
    ]


def _closed(id: str, failure: Failure | None) -> WorkflowClosed:
    return WorkflowClosed(
        workflow_id=id,
        run_id=f"run-of-{id}",
        workflow_type="fulfil",
        version=1,
        status="failed" if failure else "completed",
        result=b"" if failure else json.dumps(f"2000.00 paid for {id}").encode(),
        failure=failure,
        started_ms=CLOSED_MS - 1_000,
        closed_ms=CLOSED_MS,
    )


def _followed(system: System, line: str, environment: dict[str, str]) -> list[str]:
    """Sorted output of a line of the guide, which ends at the end of the topic."""
    (system.data / "outcomes.py").write_text(OUTCOMES)
    here = line.replace("localhost:9092", _bootstrap(system)).replace("penstock.default.", _prefix(system))
    here = here.replace("kcat -C", "kcat -C -q -e").replace("| python ", f"| {sys.executable} ")
    done = subprocess.run(
        ["sh", "-c", here], env=environment, cwd=system.data, capture_output=True, text=True, timeout=60, check=True
    )
    assert not done.stderr
    return sorted(done.stdout.splitlines())


@pytest.mark.parametrize("partitioner", ["murmur2_random", "consistent_random"])
def test_raw_producers(kafka_system: System, partitioner: str) -> None:
    """JSON starts and signals by key take effect once, forwarded exactly if the partitioner chose a wrong shard."""
    system = kafka_system
    ids = {f"raw-{n}": n for n in range(12)}
    system.start_worker()
    processor = system.start_processor()
    producer = Producer({"bootstrap.servers": _bootstrap(system), "partitioner": partitioner})
    for id, n in ids.items():
        for value in _lines(id, n):
            producer.produce(system.topics.commands, json.dumps(value).encode(), id.encode())
    assert producer.flush(30) == 0
    closed = {one.workflow_id: (one.status, json.loads(one.result)) for one in _completions(system, len(ids))}
    assert closed == {id: ("completed", [n, n + 1, n + 3]) for id, n in ids.items()}
    assert system.end(processor) == 0, system.child_log(processor)

    records = system.read(system.topics.commands)
    written = [record for record in records if (record.value or b"").startswith(b"{")]
    assert len(written) == 4 * len(ids)
    wrong = {_place(one) for one in written if partition_of(one.key or b"", system.shards) != one.partition}
    forwarded = [decode_command(one.value or b"").origin for one in records if one not in written]
    assert sorted(filter(None, forwarded)) == sorted(wrong), "each record on a wrong shard was forwarded once"
    assert bool(wrong) == (partitioner == "consistent_random")
    runs = checks.histories(checks.decisions(system.log, system.topics, system.shards))
    assert len(runs) == len(ids)
    for events in runs.values():
        assert sum(hasattr(event, "signal") for event in events) == 2, "the signal with a repeated id counted once"


def _lines(id: str, n: int) -> Iterator[dict[str, Any]]:
    """A start, a signal, the same signal again, another signal."""
    signal = {"command": "SignalWorkflow", "id": id, "signal": flows.more.name}
    yield {"type": flows.summed.name, "id": id, "input": n}
    yield {**signal, "input": 1, "message_id": f"{id}-mine"}
    yield {**signal, "input": 1, "message_id": f"{id}-mine"}
    yield {**signal, "input": 2}


def _completions(system: System, count: int) -> list[WorkflowClosed]:
    """Completions that a consumer of committed records sees; waits for `count` of them."""
    consumer = Consumer(
        {
            "bootstrap.servers": _bootstrap(system),
            "group.id": f"downstream-{uuid.uuid4().hex}",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([system.topics.completions])
    found: list[WorkflowClosed] = []

    def all_there() -> bool:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            closed = decode(message.value() or b"")
            assert isinstance(closed, WorkflowClosed)
            found.append(closed)
        return len(found) >= count

    try:
        wait_until(f"{count} records on {system.topics.completions}", all_there)
    finally:
        consumer.close()
    return found


def _with_stand_in(folder: Path) -> dict[str, str]:
    """Environment whose `kcat` is kcat_stand_in.py."""
    made = folder / "bin" / "kcat"
    made.parent.mkdir(exist_ok=True)
    source = (Path(__file__).parent / "kcat_stand_in.py").read_text()
    made.write_text(f"#!{sys.executable}\n{source}")
    made.chmod(0o755)
    return {**os.environ, "PATH": f"{made.parent}{os.pathsep}{os.environ['PATH']}"}


def _place(record: Any) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"


def _bootstrap(system: System) -> str:
    return system.url.removeprefix("kafka://")


def _prefix(system: System) -> str:
    return f"penstock.{system.namespace}."
