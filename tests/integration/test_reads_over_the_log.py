"""Test that a client reaching nothing but the log can read everything."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from penstock.client.sync import SyncClient
from penstock.config import Settings
from penstock.schemas.encoding.codec import encode
from penstock.topics.log import Record
from penstock.topics.registry import shard_key
from tests.integration import flows
from tests.integration.system import System

NOWHERE = "http://127.0.0.1:9"
IDS = [f"run-{number:03}" for number in range(120)]
LARGE = "large"
SIGNALS = 40
SIGNAL_BYTES = 50_000  # together several pages, and an answer of several records


def test_everything_is_read_without_an_address(system: System) -> None:
    """Where no processor's address can be reached, every read has its answer over the log, however large it is."""
    system.start_worker()
    processor = system.start_processor()
    _hide(system)
    with SyncClient(settings=Settings(log=system.url, namespace=system.namespace)) as client:
        _read_by_client(client, system)
    shown, _ = system.type("show", IDS[7], "--output", "json").ended()
    assert json.loads(shown)["status"] == "completed"
    history, _ = system.type("history", IDS[7], "--output", "json").ended()
    assert json.loads(history)[-1]["event"] == "WorkflowCompleted"
    listed, _ = system.type("list", "--limit", "50", "--status", "completed", "--output", "json").ended()
    assert [run["workflow_id"] for run in json.loads(listed)] == IDS[:50]
    system.type("show", "missing").refused(4, "There is no run with the id missing")
    assert system.end(processor) == 0, system.child_log(processor)
    system.check(len(IDS) + 1)


def _hide(system: System) -> None:
    """Let `registry` name addresses that lead nowhere, as the loopback address of another machine does."""
    owners = system.wait_for_owners("the processor to have every shard", 1)
    entries = [msgspec.structs.replace(owned, address=NOWHERE) for owned in owners.values()]
    system.publish(Record(system.topics.registry, 0, shard_key(one.shard), encode(one)) for one in entries)


def _read_by_client(client: SyncClient, system: System) -> None:
    run = client.start(flows.summed(1), id=LARGE)
    for _ in range(SIGNALS):
        run.signal("unread", "x" * SIGNAL_BYTES)
    system.publish_starts({id: flows.five(1) for id in IDS})
    system.results(IDS)
    described, history = client.describe(LARGE), client.history(LARGE)
    assert (described["status"], described["signals_unread"]) == ("running", {"unread": SIGNALS})
    assert [event["number"] for event in history] == list(range(1, SIGNALS + 2))
    assert sum(len(event["input"]) for event in history[1:]) == SIGNALS * SIGNAL_BYTES
    runs: list[dict[str, Any]] = client.list(limit=10_000)
    assert [one["workflow_id"] for one in runs] == sorted([*IDS, LARGE])
