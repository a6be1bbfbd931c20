"""Tests of committed reads: what a description says of handlers, updates and the place in a chain."""

from __future__ import annotations

from penstock.engine.authoring.handlers import Query, Update
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep, wait_condition
from penstock.engine.authoring.workflow import workflow
from penstock.engine.runtime import reads
from penstock.workers.activity.decorator import activity
from tests.engine.stage import Stage

stage_name = Query("reads-stage", str)
rename = Update("reads-rename", str, str)
go = Signal("reads-go")


@workflow(name="reads-tokens")
async def tokens() -> None:
    stage_name.answer(lambda: "first")
    await go.wait()
    async with rename.answer(slowly):
        await go.wait()
    await go.wait()


async def slowly(name: str) -> str:
    await go.wait()
    return name


@workflow(name="reads-class")
class Both:
    """Answers by a method and, once it runs, by tokens."""

    @workflow.run
    async def run(self) -> None:
        await wait_condition(lambda: True)
        await sleep(1)
        stage_name.answer(lambda: "second")
        await go.wait()

    @workflow.query
    def total(self) -> int:
        return 1


def test_methods_cost_no_row() -> None:
    """Decisions of a class do not repeat the names of its methods: its type has them."""
    stage = Stage(Both)
    stage.start(Both)
    assert stage.take("events")[-1].listening is None
    stage.advance(1)
    assert stage.take("events")[-1].listening.queries == ("reads-stage",)
    assert stage.described()["handlers"] == {"signals": [], "queries": ["reads-stage", "total"], "updates": []}


def test_handlers_of_tokens() -> None:
    """A token is among the handlers from its registration to its end, and after a restart."""
    stage = Stage(tokens)
    stage.start(tokens)
    assert stage.described()["handlers"] == {"signals": [], "queries": ["reads-stage"], "updates": []}
    stage.signal("reads-go")
    stage.restart()
    stage.signal("other")
    assert stage.described()["handlers"]["updates"] == ["reads-rename"]
    stage.signal("reads-go")
    assert stage.described()["handlers"]["updates"] == []


def test_open_updates() -> None:
    """Updates that are held, or run, are described with their ids; those that ended are not."""
    stage = Stage(tokens)
    stage.start(tokens)
    stage.update("reads-rename", "ann", message_id="u1", wait_for="accepted")
    held = {"update": "reads-rename", "update_id": "u1", "state": "held"}
    assert stage.described()["open_updates"] == [held]
    stage.signal("reads-go")
    assert stage.described()["open_updates"] == [{**held, "state": "accepted"}]
    stage.signal("reads-go")
    stage.signal("reads-go")
    assert stage.described()["open_updates"] == []


def test_a_delayed_start() -> None:
    """A run whose start is delayed says when it begins; its time counts from then."""
    stage = Stage(tokens)
    stage.start(tokens, start_delay_ms=5_000, run_timeout_ms=60_000)
    run = stage.described()
    assert (run["begins_ms"] - stage.now_ms, run["deadline_ms"] - stage.now_ms) == (5_000, 65_000)
    stage.advance(5)
    assert stage.described()["begins_ms"] is None


def test_the_place_in_a_chain() -> None:
    """A run that begins a chain names itself as its first run."""
    stage = Stage(tokens)
    run_id = stage.start(tokens)
    run = stage.described()
    assert (run["first_run_id"], run["chain_length"], run["retries"]) == (run_id, 0, 0)


@activity(name="reads-handed-on", retries=1, heartbeat="10s")
def handed_on() -> int:
    return 1


@workflow(name="reads-hands-on")
async def hands_on() -> int:
    return await handed_on()


def test_an_attempt_outside_is_with_no_worker() -> None:
    """Pending work lists an attempt while a worker has it, and no more once it is completed from outside."""
    stage = Stage(hands_on)
    stage.start(hands_on)
    (task,) = stage.take("tasks")
    store = next(store for store in stage.stores if reads.describe(store, "run-1") is not None)
    assert len(reads.pending_work(store).attempts) == 1
    stage.report(task, task.started("w", outside=True))
    assert reads.pending_work(store).attempts == frozenset()
    assert reads.pending_work(store).due is not None
