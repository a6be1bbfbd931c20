"""Tests of the comparison of a history with the code at hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.engine.authoring.definition import TypeOptions, WorkflowDefinition
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.versions import patched
from penstock.engine.authoring.waiting import sleep
from penstock.engine.core.keys import HISTORY, after
from penstock.engine.execution.comparison import Comparison, compare, differences_in_text
from penstock.schemas.encoding.codec import decode
from penstock.workers.activity.decorator import activity
from tests.engine.stage import Stage

go = Signal("compared-go", int)
Edit = Callable[[str], Any]


@activity(name="compared-reserve")
def reserve(sku: str) -> str:
    return f"{sku} reserved"


@activity(name="compared-charge")
def charge(sku: str, amount: int) -> str:
    return f"{amount} paid"


def named(fn: Callable[..., Any]) -> WorkflowDefinition[..., Any]:
    """A version of the code of one workflow type."""
    return WorkflowDefinition(fn, TypeOptions(name="compared"))


async def as_recorded(sku: str) -> str:
    await reserve(sku)
    await sleep("1d")
    await charge(sku, 5)
    amount = await go.wait()
    return f"{sku} for {amount}"


async def another_activity(sku: str) -> str:
    await charge(sku, 5)
    return sku


async def another_kind(sku: str) -> str:
    await reserve(sku)
    await charge(sku, 5)
    return sku


async def premature_end(sku: str) -> str:
    await reserve(sku)
    return sku


async def goes_on(sku: str) -> str:
    await reserve(sku)
    await sleep("1d")
    await charge(sku, 5)
    amount = await go.wait()
    await sleep("1d")
    return f"{sku} for {amount}"


async def another_closing(sku: str) -> str:
    await reserve(sku)
    await sleep("1d")
    await charge(sku, 5)
    raise ValueError(f"no {await go.wait()}")


async def another_result(sku: str) -> str:
    await reserve(sku)
    await sleep("1d")
    await charge(sku, 5)
    return f"{sku} for {await go.wait()} each"


async def another_input(sku: str) -> str:
    await reserve(sku.upper())
    await sleep("1d")
    await charge(sku, 6)
    return f"{sku} for {await go.wait()}"


async def with_a_bug(sku: str) -> str:
    reserved: Any = await reserve(sku)
    return str(reserved.no_such_field)


async def two_at_once(sku: str) -> str:
    await asyncio.gather(reserve(sku), charge(sku, 5))
    return sku


async def guarded(sku: str) -> str:
    for _ in range(2):
        if patched("check-first"):
            await reserve(sku)
    await go.wait()
    return sku


async def before_the_patch(sku: str) -> str:
    await go.wait()
    return sku


async def unguarded(sku: str) -> str:
    for _ in range(2):
        await reserve(sku)
    await go.wait()
    return sku


def run_of(fn: Callable[..., Any], *, closes: bool) -> list[Any]:
    """The recorded decisions of a run of this code."""
    code = named(fn)
    stage = Stage(code)
    stage.start(code, "lamp")
    for _ in range(4):
        stage.run(**{"compared-reserve": reserve.fn, "compared-charge": charge.fn})
        stage.advance(86_400)
    if closes:
        stage.signal("compared-go", 7)
    (store,) = [store for store in stage.stores if any(store.scan(HISTORY, after(HISTORY)))]
    return [decode(value) for _, value in store.scan(HISTORY, after(HISTORY))]


def compared(fn: Callable[..., Any], *, closes: bool = True, recorded: Callable[..., Any] = as_recorded) -> Comparison:
    records = run_of(recorded, closes=closes)
    return compare(named(fn), records[0].workflow_id, records[0].run_id, records)


@pytest.mark.parametrize("closes", [False, True], ids=["open", "closed"])
def test_the_same_code_does_not_differ(closes: bool) -> None:
    """Open and closed runs are repeated to the end by the code that made them."""
    comparison = compared(as_recorded, closes=closes)
    assert comparison.differences == ()
    assert comparison.events == (9 if closes else 7)
    assert not comparison.blocks


@pytest.mark.parametrize(
    ("fn", "number", "message"),
    [
        (another_activity, 1, "holds ActivityScheduled compared-reserve as request 1, the code requests"),
        (another_kind, 3, "the history holds TimerStarted as request 2, the code requests ActivityScheduled"),
        (premature_end, 3, "the history holds TimerStarted as request 2, the code requests WorkflowCompleted"),
        (goes_on, 8, "the history holds WorkflowCompleted, the code requests TimerStarted as request 4"),
        (another_closing, 8, "the history holds WorkflowCompleted, the code requests WorkflowFailed"),
        (two_at_once, 1, "the code requests ActivityScheduled compared-charge as request 2, where the history holds"),
        (with_a_bug, 3, "the code raises AttributeError: 'str' object has no attribute 'no_such_field'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_would_block_the_run_is_named(fn: Edit, number: int, message: str) -> None:
    """A step of another kind or subject, one too many or too few, another closing and a bug: each with its event."""
    comparison = compared(fn)
    assert [difference.number for difference in comparison.differences] == [number]
    assert message in comparison.differences[0].message
    assert comparison.blocks


def test_an_open_run_that_would_end_is_named() -> None:
    """Code that ends earlier than its history, where the run still waits, differs."""
    comparison = compared(another_closing, closes=False)
    assert comparison.differences == ()
    assert compared(premature_end, closes=False).blocks


def test_lines_of_code_are_named() -> None:
    """The decision is shown line by line, with the places of the requests that the code makes."""
    lines = differences_in_text(compared(another_kind))
    assert lines[0].startswith("event 3: ")
    assert lines[1].startswith("  - TimerStarted as request 2")
    assert lines[2].startswith('  + ActivityScheduled compared-charge as request 2 {"sku":"lamp","amount":5}')
    assert "test_comparison.py:" in lines[2]
    at = int(lines[2].rpartition(":")[2].rstrip(")"))
    assert "await charge(sku, 5)" in Path(__file__).read_text("utf-8").splitlines()[at - 1]


def test_timers_have_lines_too() -> None:
    """The line of a sleep is named as that of a call."""
    lines = differences_in_text(compared(goes_on))
    assert "test_comparison.py:" in lines[-1]
    assert "in goes_on" in lines[-1]


def test_all_changed_inputs_are_named() -> None:
    """Inputs that differ block no run: each is named with both values, and the comparison goes on."""
    comparison = compared(another_input)
    assert [one.number for one in comparison.differences] == [1, 5]
    assert (comparison.differences[0].recorded, comparison.differences[0].asked) == (('"lamp"',), ('"LAMP"',))
    assert not comparison.blocks


def test_another_result_is_named() -> None:
    """A closed run whose code now returns something else differs, and would not be blocked."""
    (difference,) = compared(another_result).differences
    assert (difference.message, difference.ends) == ("the run's result differs", False)
    assert difference.asked == ('"lamp for 7 each"',)


def test_a_patch_has_one_value_in_a_run() -> None:
    """Code with a patch replays runs from before and after it, in loops too."""
    assert compared(guarded, recorded=guarded).differences == ()
    assert compared(guarded, recorded=before_the_patch).differences == ()


def test_a_removed_patch_is_named() -> None:
    """Without `patched`, a run that was marked differs, and the patch is named."""
    (difference,) = compared(unguarded, recorded=guarded).differences
    assert "PatchMarked check-first" in difference.message
