"""Tests of signals that workflow code sends to other runs."""

from __future__ import annotations

from penstock.engine.authoring.external import get_run
from penstock.engine.authoring.workflow import workflow
from tests.engine.core import flows
from tests.engine.stage import Stage


def test_signal_to_another_run() -> None:
    """A run can signal another, on any shard."""
    stage = Stage(flows.teller, flows.approved, shards=3)
    stage.start(flows.approved, id="other")
    stage.start(flows.teller, "other")
    assert stage.described("other")["result"] == "paid 7"


@workflow
async def tells(value: int) -> None:
    get_run("both").signal(flows.price, value)


def test_two_runs_with_one_run_id_send_two_signals() -> None:
    """Signals of two workflow ids whose runs share a run id have different message ids."""
    stage = Stage(tells, flows.conditional)
    stage.start(flows.conditional, id="both")
    for id in ("a", "b"):
        stage.start(tells, 6, id=id, message_id="same")
    assert stage.described("both")["result"] == 12
