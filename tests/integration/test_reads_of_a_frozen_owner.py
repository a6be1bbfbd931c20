"""Test that a processor which was frozen and replaced serves nothing when it wakes."""

from __future__ import annotations

import http.client
import os
import signal

from penstock.client.sync import SyncClient
from penstock.config import Settings
from tests.integration import flows
from tests.integration.system import System, wait_until


def test_a_replaced_owner_serves_no_old_state(system: System) -> None:
    """A request that waits at a frozen owner while another processor takes over is not answered with old state."""
    frozen = system.start_processor()
    owners = system.wait_for_owners("the first processor to have every shard", 1)
    with SyncClient(settings=Settings(log=system.url, namespace=system.namespace)) as client:
        run = client.start(flows.summed(1), id="x")
        assert len(run.history()) == 1
        os.kill(frozen.pid, signal.SIGSTOP)
        asked = _ask(owners[0].address, "/v1/workflows/x/history")
        system.start_processor()
        wait_until("the second processor to take over", lambda: _is_replaced(system, owners[0].transactional_id))
        run.signal(flows.go, None)
        assert len(run.history()) == 2
        os.kill(frozen.pid, signal.SIGCONT)
        answer = asked.getresponse()
        body = answer.read()
        assert answer.status != http.client.OK or b"SignalReceived" in body, body
        assert len(run.history()) == 2
    asked.close()


def _ask(address: str, path: str) -> http.client.HTTPConnection:
    """Send a request; its answer is not awaited."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    connection.request("GET", path)
    return connection


def _is_replaced(system: System, transactional_id: str) -> bool:
    owners = system.owners()
    return len(owners) == system.shards and all(one.transactional_id != transactional_id for one in owners.values())
