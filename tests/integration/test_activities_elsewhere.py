"""Tests of attempts in a worker's own process: cancelled, and frozen for longer than their heartbeat's time."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from penstock.schemas.encoding.codec import decode
from penstock.schemas.records.run import CancelWorkflow, TerminateWorkflow
from penstock.schemas.records.tasks import TaskCompleted
from tests.integration import flows
from tests.integration.system import System, wait_until


@pytest.mark.parametrize("command", [CancelWorkflow, TerminateWorkflow])
def test_a_sync_activity_elsewhere_sees_that_its_run_ended(
    system: System, command: type[CancelWorkflow | TerminateWorkflow]
) -> None:
    """A sync activity in another process is told that its run was cancelled, or terminated, at its next heartbeat."""
    processor, worker = system.start_processor(), _worker(system)
    system.publish_starts({"run-1": flows.standing(str(system.data))})
    _wait_for(system, f"begun-1-{worker.pid}", worker)
    system.publish_commands([command(workflow_id="run-1", message_id="end-1")])
    _wait_for(system, f"cancelled-1-{worker.pid}", worker)
    status = "cancelled" if command is CancelWorkflow else "terminated"
    wait_until(f"the run to be {status}", lambda: _completions(system) == [status])
    assert system.end(worker) == 0, system.child_log(worker)
    assert system.end(processor) == 0, system.child_log(processor)


@pytest.mark.parametrize("system", ["kafka"], indirect=True)  # one that is frozen may hold the lock of a file
def test_a_worker_that_is_frozen_past_a_heartbeat(system: System) -> None:
    """The attempt of a frozen worker is followed by exactly one other, and what the worker reports when it wakes counts
    for nothing."""
    processor, frozen = system.start_processor(), _worker(system)
    system.publish_starts({"run-1": flows.standing(str(system.data))})
    _wait_for(system, f"begun-1-{frozen.pid}", frozen)
    frozen.send_signal(signal.SIGSTOP)
    other = _worker(system)
    _wait_for(system, f"begun-2-{other.pid}", other)
    Path(system.data, "end-1").touch()
    frozen.send_signal(signal.SIGCONT)
    wait_until("the late result", lambda: _has_late_result(system), log=lambda: system.child_log(frozen))
    Path(system.data, "end-2").touch()
    assert system.results(["run-1"]) == {"run-1": "attempt 2"}
    assert sorted(path.name.rpartition("-")[0] for path in system.data.glob("begun-*")) == ["begun-1", "begun-2"]
    for child in (frozen, other, processor):
        assert system.end(child) == 0, system.child_log(child)
    system.check(1)


def _worker(system: System) -> subprocess.Popen[bytes]:
    return system.child("tests.integration.worker_host", system.url, system.namespace)


def _wait_for(system: System, pattern: str, child: subprocess.Popen[bytes]) -> None:
    """Wait until the folder of the system has a file of that name."""
    wait_until(f"a file {pattern}", lambda: any(system.data.glob(pattern)), log=lambda: system.child_log(child))


def _has_late_result(system: System) -> bool:
    results = [decode(record.value or b"") for record in system.read(system.topics.results)]
    return any(isinstance(one, TaskCompleted) and one.attempt == 1 for one in results)


def _completions(system: System) -> list[str]:
    return [decode(record.value or b"").status for record in system.read(system.topics.completions)]
