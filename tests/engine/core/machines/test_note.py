"""Tests of details, search attributes and memo, on a shard."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest

from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.children import start_child
from penstock.engine.authoring.context import info
from penstock.engine.authoring.describing import details, set_search
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.engine.runtime.reads import list_runs
from penstock.schemas.records.run import CancelWorkflow
from penstock.schemas.values.attributes import encode_memo, encode_search
from penstock.schemas.values.retry import RetryPolicy
from tests.engine.stage import Stage

step = Signal("note-step", int)
NOON = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)


@workflow(name="note-steps")
async def steps() -> str:
    while (number := await step.wait()) > 0:
        details({"step": number})
        set_search(step=number, tier="gold" if number > 1 else None)
    return str(info().search)


@workflow(name="note-continues")
async def continues(left: int) -> Any:
    set_search(left=left)
    details(left)
    if left:
        continue_as_new(continues(left - 1))
    await step.wait()
    return [info().memo, info().search]


@workflow(name="note-fails")
async def fails() -> None:
    set_search(tries=info().search.get("tries", 0) + 1)
    await step.wait()
    raise ValueError("no")


def started(flow: Any, *args: Any, **fields: Any) -> Stage:
    stage = Stage(steps, continues, fails)
    stage.start(flow, *args, **fields)
    return stage


def test_details_are_recorded_when_they_change() -> None:
    """Equal details, and equal search attributes, make one event; readers see the last ones."""
    stage = started(steps)
    for number in (1, 1, 2):
        stage.signal("note-step", number)
    assert stage.events().count("DetailsSet") == 2
    assert stage.events().count("SearchSet") == 2
    run = stage.described()
    assert (run["details"], run["search"]) == ({"step": 2}, {"step": 2, "tier": "gold"})


def test_a_run_that_is_rebuilt_notes_nothing_again() -> None:
    """After a restart, equal values make no event, and the code still knows its search attributes."""
    stage = started(steps, search=encode_search({"customer": "c1"}))
    stage.signal("note-step", 1)
    stage.restart()
    stage.signal("note-step", 1)
    assert stage.events().count("DetailsSet") == 1
    stage.signal("note-step", 0)
    assert stage.described()["result"] == "{'customer': 'c1', 'step': 1}"


def test_none_removes() -> None:
    """None removes a search attribute."""
    stage = started(steps)
    for number in (2, 1):
        stage.signal("note-step", number)
    assert stage.described()["search"] == {"step": 1}


def test_a_start_describes_its_run() -> None:
    """Memo and search attributes of a start are in the run's description and in the record of its end."""
    memo, search = encode_memo({"by": "ann"}), encode_search({"customer": "c1", "due": NOON})
    stage = started(steps, memo=memo, search=search)
    run = stage.described()
    assert run["memo"] == {"by": "ann"}
    assert run["search"] == {"customer": "c1", "due": "2026-11-26T12:00:00Z"}
    stage.signal("note-step", 0)
    (closed,) = stage.take("completions")
    assert (closed.memo, closed.search) == (memo, search)
    assert stage.described()["memo"] == {"by": "ann"}


def test_lists_show_details_and_search() -> None:
    """The summary of a list has details and search attributes, not the memo."""
    stage = started(steps, memo=encode_memo({"by": "ann"}), search=encode_search({"customer": "c1"}))
    stage.signal("note-step", 1)
    (run,) = list_runs(stage.stores[0])
    assert (run["details"], run["search"]) == ({"step": 1}, {"customer": "c1", "step": 1})
    assert "memo" not in run


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"memo": b"7"}, "The memo is no JSON object"),
        ({"search": b'{"status":"x"}'}, "cannot be called status"),
    ],
)
def test_a_start_with_bad_attributes_is_refused(fields: dict[str, bytes], words: str) -> None:
    """A start whose memo or search attributes are refused starts nothing and says why."""
    stage = Stage(steps)
    stage.start(steps, reply_to=0, **fields)
    (rejected,) = stage.take("replies")
    assert (rejected.reason, words in rejected.message) == ("bad_input", True)


def test_a_chain_carries_them_along() -> None:
    """Runs that continue as new keep memo and search attributes, and those set just before; details they begin anew."""
    stage = started(continues, 2, memo=encode_memo({"by": "ann"}), search=encode_search({"customer": "c1"}))
    stage.advance(1)
    run = stage.described()
    assert (run["memo"], run["search"], run["details"]) == ({"by": "ann"}, {"customer": "c1", "left": 0}, 0)
    assert (run["chain_length"], run["first_run_id"]) == (2, "message-1")
    stage.signal("note-step", 1)
    assert stage.described()["result"] == [{"by": "ann"}, {"customer": "c1", "left": 0}]


def test_the_memo_of_a_continued_run_is_gone() -> None:
    """A chain leaves one memo in the store."""
    stage = started(continues, 3, memo=encode_memo({"by": "ann"}))
    stage.advance(1)
    assert len(list(stage.stores[0].scan(b"N", b"O"))) == 1


def test_a_retried_run_keeps_them() -> None:
    """The run that follows a failed one has its memo and search attributes."""
    retry = RetryPolicy(retries_max=1, delays_ms=(1_000,))
    stage = started(fails, memo=encode_memo({"by": "ann"}), search=encode_search({"customer": "c1"}), retry=retry)
    stage.signal("note-step", 1)
    stage.advance(1)
    run = stage.described()
    assert (run["status"], run["memo"], run["search"]) == ("running", {"by": "ann"}, {"customer": "c1", "tries": 2})


@workflow(name="note-parent")
async def parent() -> list[str]:
    first = await start_child(steps(), id="kid-1", memo={"by": "ann"}, search={"customer": "c1", "due": NOON})
    second = asyncio.create_task(steps().options(id="kid-2", search={"customer": "c2"}))
    return [await first.result(), await second]


def test_children_have_their_own() -> None:
    """Options of a child give it a memo and search attributes; those of its parent do not go along."""
    stage = Stage(parent, steps)
    stage.start(parent, memo=encode_memo({"of": "parent"}), search=encode_search({"region": "p"}))
    first, second = stage.described("kid-1"), stage.described("kid-2")
    assert (first["memo"], first["search"]) == ({"by": "ann"}, {"customer": "c1", "due": "2026-11-26T12:00:00Z"})
    assert (second["memo"], second["search"]) == ({}, {"customer": "c2"})
    stage.restart()
    for id in ("kid-1", "kid-2"):
        stage.signal("note-step", 0, id=id)
    assert stage.described()["status"] == "completed"


@workflow(name="note-cleans")
async def cleans() -> None:
    try:
        await step.wait()
    finally:
        details("cleaning up")
        await asyncio.sleep(1)


def test_details_while_cleaning_up() -> None:
    """A run that is cancelled may set details, and a restart in between records nothing of its own."""
    stage = Stage(cleans)
    stage.start(cleans)
    stage.restart()
    assert stage.described()["details"] is None
    stage.tell(CancelWorkflow(workflow_id="run-1", message_id="m"))
    stage.restart()
    assert stage.events().count("DetailsSet") == 1
    stage.advance(1)
    assert (stage.described()["status"], stage.described()["details"]) == ("cancelled", "cleaning up")
