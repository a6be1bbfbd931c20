"""Tests of users' mistakes: one clear sentence, nothing lost, and other runs unaffected."""

from __future__ import annotations

import json
import socket
from typing import Any

from penstock.topics.log import Record
from penstock.topics.partitioner import partition_of
from tests.integration import flows
from tests.integration.system import System, wait_until


def test_what_is_typed_wrong(system: System) -> None:
    """Each wrong command gives one sentence and its exit code, and a run that was started before is unaffected."""
    _with_neighbour(system)
    with socket.socket() as unserved:
        unserved.bind(("127.0.0.1", 0))
        nowhere = f"kafka://127.0.0.1:{unserved.getsockname()[1]}"
        refusals = [
            (system.type("start", "integration.unknown"), 1, "integration.unknown", "integration.five"),
            (system.type("start", "integration.five", "--input", '"text"'), 1, "integration.five", "int"),
            (system.type("start", "integration.five", "--input", "{bad"), 2, "not JSON", "line 1, column 2"),
            (system.type("result", "unknown"), 4, "unknown"),
            (system.type("signal", "unknown", flows.go.name), 4, "unknown"),
            (system.type("terminate", "unknown"), 4, "unknown"),
            (system.type("history", "unknown"), 4, "unknown"),
            (system.type("signal", "neighbour", flows.more.name, "--input", '"text"'), 1, flows.more.name),
            (system.type("processor", "no_such_module"), 2, "no module 'no_such_module'"),
            (system.type("list", "--log", nowhere), 3, "no Kafka broker answers", nowhere.removeprefix("kafka://")),
            (system.type("list", "--log", "embedded:none"), 3, "there is no log", "penstock dev FILE"),
            (system.type("list", "--namespace", "unmade"), 3, "penstock.unmade.commands", "does not exist"),
        ]
        for typed, code, *parts in refusals:
            typed.refused(code, *parts)
    assert _letters(system) == [], "refusals were replies, so none became a dead letter"
    _neighbour_completes(system)


def test_records_at_fault(system: System) -> None:
    """An unusable record becomes a dead letter that can be shown, replayed and discarded; other runs are unaffected."""
    _with_neighbour(system)
    bad: dict[str, tuple[bytes, str, str]] = {
        "no-json": (b'{"type": "integration.five", ', "undecodable", "begins like JSON"),
        "no-record": (b"\x01\x02rubbish", "undecodable", ""),
        "no-bytes": (b"", "undecodable", "empty"),
        "no-key": (b'{"typ":"integration.five","id":"no-key"}', "undecodable", "`typ`"),
        "no-type": (b'{"type":"integration.unknown","id":"no-type"}', "unknown_type", "integration.unknown"),
        "no-input": (b'{"type":"integration.five","id":"no-input","input":{"a":1}}', "bad_input", "integration.five"),
        "late": (_json_signal("late", "integration-more", 5), "not_found", "late"),
    }
    system.publish(_foreign(system, id, value) for id, (value, _, _) in bad.items())
    wait_until("a dead letter for each record", lambda: len(_letters(system)) == len(bad))
    letters = {letter["key"]: letter for letter in _letters(system)}
    for id, (value, reason, part) in bad.items():
        assert (letters[id]["reason"], letters[id]["value"]) == (reason, _shown(value)), letters[id]
        assert part in letters[id]["message"], letters[id]
    assert "integration.unknown" in system.type("dead-letters", "show", letters["no-type"]["letter"]).ended()[0]

    system.publish_starts({"late": flows.summed(1)})
    system.publish_signals(flows.more, ["late"], 3)
    system.type("dead-letters", "replay", letters["late"]["letter"]).ended()
    assert system.results(["late"]) in ({"late": [1, 6, 9]}, {"late": [1, 4, 9]})
    assert system.type("dead-letters", "discard", "--all").ended()[1] == f"{len(bad) - 1} discarded\n"
    assert system.type("dead-letters", "list").ended() == ("", "no dead letters\n")
    _neighbour_completes(system)


def test_a_queue_without_a_topic(system: System) -> None:
    """A task for a queue that has no topic blocks its run only, which continues once the topic exists."""
    _with_neighbour(system)
    system.publish_starts({"blocked": flows.detour(1)})
    system.wait_for_events("WorkflowBlocked", 1)
    shown = system.type("show", "blocked").ended()[0]
    for part in ("BLOCKED", "missing_topic", system.topics.tasks(flows.SIDE_QUEUE), "penstock topics apply"):
        assert part in shown
    _neighbour_completes(system)
    system.type("topics", "apply", "--queue", flows.SIDE_QUEUE).ended()
    system.start_worker(queues=[flows.SIDE_QUEUE])
    assert system.results(["blocked"]) == {"blocked": 12}
    assert _letters(system) == []


def _with_neighbour(system: System) -> None:
    """Start worker and processor, and a run that stays in the middle of its work."""
    system.start_worker()
    system.start_processor()
    system.publish_starts({"neighbour": flows.summed(1)})
    system.publish_signals(flows.more, ["neighbour"], 1)
    system.wait_for_owners("the processor to have every shard", 1)


def _neighbour_completes(system: System) -> None:
    system.publish_signals(flows.more, ["neighbour"], 2)
    assert system.results(["neighbour"]) == {"neighbour": [1, 2, 4]}


def _letters(system: System) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(system.type("dead-letters", "list", "--output", "json").ended()[0])
    return found


def _foreign(system: System, id: str, value: bytes) -> Record:
    return Record(system.topics.commands, partition_of(id, system.shards), id.encode(), value)


def _json_signal(id: str, signal: str, value: int) -> bytes:
    return json.dumps({"command": "SignalWorkflow", "id": id, "signal": signal, "input": value}).encode()


def _shown(value: bytes) -> str:
    return value.decode("utf-8", errors="backslashreplace")
