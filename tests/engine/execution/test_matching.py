"""Tests of the comparison of inputs on replay."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from penstock.engine.authoring import definition as workflow_module
from penstock.engine.authoring.definition import WorkflowDefinition
from penstock.engine.authoring.external import get_run
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.versions import WorkflowTypes
from penstock.engine.execution.matching import Matcher
from penstock.schemas.errors import NonDeterminism
from penstock.schemas.records.activity import ActivityScheduled
from penstock.schemas.records.note import DetailsSet, SearchSet
from penstock.schemas.records.timer import TimerStarted
from penstock.workers.activity import decorator as activity_module
from penstock.workers.activity.decorator import activity
from penstock.workers.activity.registry import Registry
from tests.engine.stage import Stage

poke = Signal("poke", int)
finish = Signal("finish")


@activity
def price(sku: str, currency: str = "EUR") -> int: ...


@workflow
async def child(number: int) -> int:
    await finish.wait()
    return number


def priced(skus: Callable[[], Any], price: Any = price) -> WorkflowDefinition[[], list[int]]:
    """A workflow that prices what `skus` returns, all at once, and then waits."""

    @workflow(name="priced")
    async def priced_workflow() -> list[int]:
        prices = await asyncio.gather(*(price(sku) for sku in skus()))
        await finish.wait()
        return prices

    return priced_workflow


def replayed(old: Any, new: Any, *, strict: bool = False) -> Stage:
    """A stage whose run was started by the code `old`, was replayed by `new` and received the signal `finish`."""
    stage = Stage(old, matching_kid, strict_inputs=strict)
    stage.start(old)
    with structlog.testing.capture_logs() as lines:
        stage.restart(new, matching_kid)
        stage.signal("finish")
    stage.lines = lines
    return stage


def differences(stage: Stage) -> list[str]:
    return [line["request"] for line in stage.lines if "differs" in line["event"]]


@pytest.fixture(autouse=True)
def _registries_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tests define a workflow or an activity of one name."""
    monkeypatch.setattr(workflow_module, "_definitions", WorkflowTypes())
    monkeypatch.setattr(activity_module, "_registry", Registry())


def test_a_permutation_of_inputs_blocks_the_run() -> None:
    """Code that makes the same requests in another order is BLOCKED: results would go to other calls."""
    stage = replayed(
        priced(lambda: ["a", "b", "c"]),
        priced(lambda: ["c", "b", "a"]),
    )
    described = stage.described()
    assert (described["status"], described["blocked_reason"]) == ("blocked", "non_determinism")
    assert "iteration over a set" in described["blocked_message"]
    assert "price" in described["blocked_message"]
    assert "sorted(" in described["blocked_message"]


def test_a_permutation_is_found_among_the_requests_that_keep_their_place() -> None:
    """Two exchanged inputs of many are enough."""
    old, new = list("abcdefgh"), list("abcdefhg")
    stage = replayed(priced(lambda: old), priced(lambda: new))
    assert stage.described()["status"] == "blocked"


def test_a_blocked_permutation_goes_on_with_the_old_order() -> None:
    """Code that makes the requests in the recorded order again frees the run."""
    stage = replayed(priced(lambda: ["a", "b"]), priced(lambda: ["b", "a"]))
    assert stage.described()["status"] == "blocked"
    stage.restart(priced(lambda: ["a", "b"]))
    stage.run(price=lambda sku, currency: ord(sku))
    assert stage.described()["result"] == [97, 98]


def test_another_input_does_not_block() -> None:
    """An edit of an input that is no permutation goes on with the recorded result, and is logged."""
    stage = replayed(priced(lambda: ["a", "b"]), priced(lambda: ["a", "x"]))
    assert stage.described()["status"] == "running"
    assert differences(stage) == ["ActivityScheduled price"]


def test_a_difference_is_logged_once() -> None:
    """However many runs and replays meet it, one line is logged for a workflow type and kind of request."""
    stage = Stage(priced(lambda: ["a"]))
    for id in ("r1", "r2", "r3"):
        stage.start(stage.definitions["priced"], id=id)
    with structlog.testing.capture_logs() as lines:
        stage.restart(priced(lambda: ["b"]))
        for id in ("r1", "r2", "r3"):
            stage.signal("finish", id=id)
    assert sum("differs" in line["event"] for line in lines) == 1


def test_strict_inputs_make_any_difference_an_error() -> None:
    """In TestEngine and replay tools a changed input blocks the run and shows both inputs."""
    stage = replayed(priced(lambda: ["a"]), priced(lambda: ["b"]), strict=True)
    message = stage.described()["blocked_message"]
    assert '"a"' in message
    assert '"b"' in message


def test_a_new_default_is_no_difference() -> None:
    """The recorded input is read and written again by today's type before it is compared."""
    stage = Stage(priced(lambda: ["a"]))
    stage.start(stage.definitions["priced"])

    @activity(name="price")
    def price_with_more(sku: str, currency: str = "EUR", rounded: bool = True) -> int: ...

    today = priced(lambda: ["a"], price_with_more)
    with structlog.testing.capture_logs() as lines:
        stage.restart(today)
        stage.signal("finish")
    assert stage.described()["status"] == "running"
    assert not any("differs" in line["event"] for line in lines)


def test_children_and_signals_to_other_runs_are_compared() -> None:
    """A permutation of inputs is found for children of one id and type, and for signals to one run, alike."""

    def poking(values: list[int]) -> Any:
        @workflow(name="poking")
        async def poking_workflow() -> None:
            for value in values:
                get_run("other").signal(poke, value)
            await finish.wait()

        return poking_workflow

    stage = replayed(poking([1, 2]), poking([2, 1]))
    assert stage.described()["status"] == "blocked"
    assert "ExternalSignalSent poke" in stage.described()["blocked_message"]


def test_a_child_s_changed_input_is_logged() -> None:
    """A child's input is compared like that of an activity."""

    def calling(number: int) -> Any:
        @workflow(name="calling")
        async def calling_workflow() -> int:
            return await child(number).options(id="kid")

        return calling_workflow

    stage = Stage(calling(1), child)
    stage.start(stage.definitions["calling"])
    with structlog.testing.capture_logs() as lines:
        stage.restart(calling(2), child)
        stage.signal("finish")
    assert any(line.get("request") == "ChildScheduled child" for line in lines)


def test_exchanged_timers_block_the_run() -> None:
    """Sleeps of other lengths in another order are a permutation too."""

    def sleeping(lengths: list[int]) -> Any:
        @workflow(name="sleeping")
        async def sleeping_workflow() -> None:
            await asyncio.gather(*(sleep(length) for length in lengths))

        return sleeping_workflow

    stage = replayed(sleeping([10, 20]), sleeping([20, 10]))
    assert stage.described()["status"] == "blocked"


def _scheduled(sequence: int, name: str, input: bytes) -> ActivityScheduled:
    return ActivityScheduled(sequence=sequence, activity=name, input=input, queue="default")


def test_inputs_of_different_activities_are_no_permutation() -> None:
    """Two activities that exchange inputs are two changes, since each is compared with its own kind."""
    matcher = Matcher([_scheduled(1, "a", b"1"), _scheduled(2, "b", b"2")])
    matcher.match(_scheduled(1, "a", b"2"), None)
    matcher.match(_scheduled(2, "b", b"1"), None)
    assert len(matcher.finish("flow", strict_inputs=False)) == 2


def test_a_permutation_beside_a_change_is_found_by_kind() -> None:
    """A changed input of one activity does not hide exchanged inputs of another."""
    matcher = Matcher([_scheduled(1, "a", b"1"), _scheduled(2, "a", b"2"), _scheduled(3, "b", b"3")])
    matcher.match(_scheduled(1, "a", b"2"), None)
    matcher.match(_scheduled(2, "a", b"1"), None)
    matcher.match(_scheduled(3, "b", b"9"), None)
    with pytest.raises(NonDeterminism, match="iteration over a set"):
        matcher.finish("flow", strict_inputs=False)


def test_an_unreadable_recorded_input_counts_as_it_was_recorded() -> None:
    """If today's type refuses the recorded input, the bytes themselves are compared."""

    def refuse(data: bytes) -> bytes:
        raise ValueError(data)

    matcher = Matcher([_scheduled(1, "a", b"1")])
    matcher.match(_scheduled(1, "a", b"2"), refuse)
    (difference,) = matcher.finish("flow", strict_inputs=False)
    assert (difference.recorded, difference.asked, difference.sequence) == (b"1", b"2", 1)


def _noted(*notes: Any) -> tuple[list[Any], list[Any]]:
    """What a matcher finds between the recorded requests and notes that the code makes around an activity."""
    recorded, asked = notes
    scheduled = _scheduled(1, "a", b"1")
    matcher = Matcher([*recorded, scheduled])
    for note in asked:
        matcher.match(note, None)
    following = matcher.following
    matcher.match(scheduled, None)
    found = matcher.finish("flow", strict_inputs=False)
    return [(one.request, one.recorded, one.asked) for one in found], [following is scheduled]


@pytest.mark.parametrize(
    ("recorded", "asked", "differences"),
    [
        ([DetailsSet(value=b"1")], [DetailsSet(value=b"1")], []),
        ([DetailsSet(value=b"1")], [DetailsSet(value=b"2")], [("DetailsSet", b"1", b"2")]),
        ([], [DetailsSet(value=b"2")], [("DetailsSet", b"", b"2")]),
        ([SearchSet(attributes=b"{}")], [], [("SearchSet", b"{}", b"")]),
        (
            [SearchSet(attributes=b"{}"), DetailsSet(value=b"1")],
            [DetailsSet(value=b"1"), SearchSet(attributes=b"{}")],
            [],
        ),
    ],
)
def test_notes_that_differ_are_no_mismatch(recorded: list[Any], asked: list[Any], differences: list[Any]) -> None:
    """A note that was changed, left out or added is a difference of inputs; requests around it still match."""
    assert _noted(recorded, asked) == (differences, [True])


def test_notes_that_differ_are_an_error_if_inputs_are_strict() -> None:
    """Tests and replay tools report a note that the history lacks."""
    matcher = Matcher([])
    matcher.match(DetailsSet(value=b"2"), None)
    with pytest.raises(NonDeterminism, match="the input of DetailsSet was  in the history and is now 2"):
        matcher.finish("flow", strict_inputs=True)


def test_a_note_at_the_end_may_be_left_out() -> None:
    """A recorded note that no request follows is a difference, not a missing request."""
    (difference,) = _finished(Matcher([DetailsSet(value=b"2")]))
    assert (difference.request, difference.sequence) == ("DetailsSet", 0)


def _finished(matcher: Matcher) -> Any:
    return matcher.finish("flow", strict_inputs=False)


def test_an_exact_repetition_is_no_difference() -> None:
    """Equal requests leave nothing to report, whatever their kind."""
    requests = [_scheduled(1, "a", b"1"), TimerStarted(sequence=2, due_ms=5)]
    matcher = Matcher(requests)
    for request in requests:
        matcher.match(request, None)
    assert matcher.finish("flow", strict_inputs=True) == []


@activity
def matching_charge(name: str) -> str: ...


@workflow
async def matching_kid(name: str) -> str:
    await finish.wait()
    return name


def gathered(make: Any, names: str) -> WorkflowDefinition[[], None]:
    """A workflow that awaits one call by `make` for each letter, all at once."""

    @workflow(name="gathered")
    async def gathered_workflow() -> None:
        await asyncio.gather(*map(make, names))
        await finish.wait()

    return gathered_workflow


def test_exchanged_children_block_the_run() -> None:
    """Children of one type that exchange their inputs are a permutation, although each has an id of its own."""
    assert replayed(gathered(matching_kid, "ab"), gathered(matching_kid, "ba")).described()["status"] == "blocked"


def test_an_exchange_beside_another_change_blocks_the_run() -> None:
    """Two exchanged inputs are found beside a third that has merely changed."""
    assert (
        replayed(gathered(matching_charge, "abc"), gathered(matching_charge, "bad")).described()["status"] == "blocked"
    )


def test_shifted_inputs_are_changes() -> None:
    """Inputs that move up by one, the last one new, are no permutation: they are logged."""
    stage = replayed(gathered(matching_charge, "abc"), gathered(matching_charge, "bcd"))
    assert stage.described()["status"] == "running"
    assert differences(stage) == ["ActivityScheduled matching_charge"]


def test_changed_children_of_one_type_are_logged_once() -> None:
    """The log has one line for all children of a type, not one for each id."""
    assert differences(replayed(gathered(matching_kid, "abc"), gathered(matching_kid, "xyz"))) == [
        "ChildScheduled matching_kid"
    ]


def _order(*, extended: bool) -> Any:
    if extended:

        @dataclasses.dataclass
        class Order:
            name: str
            amount: float
            currency: str = "EUR"

    else:

        @dataclasses.dataclass
        class Order:  # type: ignore[no-redef]
            name: str
            amount: float

    return Order


def _paid(names: str, *, extended: bool) -> WorkflowDefinition[[], None]:
    Order = _order(extended=extended)  # noqa: N806 - a class

    def pay(order: Any) -> str: ...

    pay.__annotations__["order"] = Order
    definition = activity(pay)
    return gathered(lambda name: definition(Order(name, 3)), names)


@pytest.mark.parametrize(("names", "blocked"), [("ab", False), ("ba", True)])
def test_a_new_field_of_a_dataclass(names: str, blocked: bool) -> None:
    """A dataclass's new field with a default is no difference, and hides no exchange."""
    old = _paid("ab", extended=False)
    status = replayed(old, _paid(names, extended=True), strict=True).described()["status"]
    assert (status == "blocked") is blocked
