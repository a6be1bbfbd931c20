"""The example of a job outside that completes its activity by a token, on both logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.render import Clip, render
from penstock.schemas.encoding.codec import decode
from penstock.schemas.records.activity import ActivityAttemptFailed, ActivityHeartbeat, ActivityStarted
from penstock.schemas.values.tokens import AttemptToken, token_keys, write_token
from penstock.topics.log import Record
from tests.integration.system import System, wait_until

WAIT_S = 60
FRAMES = 12


@pytest.fixture(params=["embedded", "kafka"])
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    """A namespace with a processor and a worker that host the example, in processes of their own."""
    kafka = request.param == "kafka"
    url = f"kafka://{request.getfixturevalue('kafka_bootstrap')}" if kafka else f"embedded:{tmp_path}/log.sqlite3"
    made = System(url, 1, tmp_path)
    for kind in ("processor", "worker"):
        made.child("penstock", kind, "examples.render")
    yield made
    made.close()


def events(system: System) -> list[Any]:
    """All events, in order."""
    records = [decode(record.value or b"") for record in system.read(system.topics.events)]
    return [decode(event) for record in records for event in record.events]


def token_of_the_attempt(system: System) -> str:
    """The token of the attempt that is recorded to have begun."""
    for record in system.read(system.topics.events):
        decision = decode(record.value or b"")
        for started in map(decode, decision.events):
            if isinstance(started, ActivityStarted):
                named = (decision.workflow_id, decision.run_id, started.sequence, started.attempt, decision.shard)
                return write_token(AttemptToken(*named), key_of(system, system.namespace))
    raise AssertionError("no attempt has begun")


def key_of(system: System, namespace: str) -> bytes:
    """The key of a namespace without the setting `token_key`."""
    return token_keys("", system.topics.prefix, namespace)[0]


def test_a_job_that_dies_is_followed_by_another(system: System) -> None:
    """A job dies in the middle; after the heartbeat's time another one goes on where the heartbeats had come to, and
    completes the activity."""
    system.publish_starts({"clip-1": render(Clip("intro", FRAMES, dies_at=7))})
    assert system.results(["clip-1"], WAIT_S) == {"clip-1": f"intro: {FRAMES} frames"}
    found = events(system)
    failed = [event for event in found if isinstance(event, ActivityAttemptFailed)]
    assert (failed[0].attempt, failed[0].failure.type) == (1, "TimeoutError")
    frames = [int(event.details) for event in found if isinstance(event, ActivityHeartbeat)]
    assert frames == list(range(1, FRAMES + 1))


def test_a_line_on_results_completes_it(system: System) -> None:
    """A line of JSON with the token completes the activity, though its job would take minutes more."""
    system.publish_starts({"clip-1": render(Clip("intro", 10_000))})
    wait_until("a heartbeat", lambda: any(isinstance(event, ActivityStarted) for event in events(system)))
    line = json.dumps({"token": token_of_the_attempt(system), "result": 3}).encode()
    system.publish([Record(system.topics.results, 0, b"", line)])
    assert system.results(["clip-1"], WAIT_S) == {"clip-1": "intro: 3 frames"}


def test_a_wrong_token_is_one_sentence(system: System) -> None:
    """A token that is none, and one of another namespace, are refused with a sentence that says what to do."""
    system.type("complete", "clip-1", "--result", "3").refused(2, "pass the whole text that activity_info().token had")
    foreign = write_token(AttemptToken("clip-1", "run", 1, 1, 0), key_of(system, "another"))
    system.type("complete", foreign, "--result", "3").refused(2, "not signed with a key of this namespace")
