"""Workflows of the tests of queries, updates and chains: a counter as a class, and one as a function with tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.context import random, side_effect
from penstock.engine.authoring.external import get_run
from penstock.engine.authoring.handlers import Query, Update
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.waiting import sleep, wait_condition
from penstock.engine.authoring.workflow import workflow
from penstock.workers.activity.decorator import activity

opened = Signal("counters-open")
word = Signal("counters-word", str)
shown = Query("counters-shown", list[str])
add_word = Update("counters-add", str, int)


@activity(name="counters-priced")
def priced(amount: int) -> int: ...


class Untidy(Exception):
    """An error that no setting counts as a bug."""


@workflow(name="counters-counter")
class Counter:
    """A number that signals and updates change until it is closed."""

    def __init__(self, number: int, goes_on: bool = False) -> None:
        self.number, self.goes_on, self.is_over = number, goes_on, False
        self.seen: list[str] = []
        self.event = asyncio.Event()

    @workflow.run
    async def run(self) -> int:
        self.seen.append(f"run saw {self.number}")
        await wait_condition(lambda: self.is_over)
        if self.goes_on:
            continue_as_new(Counter(self.number))
        return self.number

    @workflow.signal
    def increase(self, by: int) -> None:
        self.number += by

    @workflow.signal
    async def close(self) -> None:
        self.is_over = True

    @workflow.query
    def get(self) -> int:
        return self.number

    @workflow.query
    def log(self) -> list[str]:
        return self.seen

    @workflow.query
    def spoil(self, how: str) -> int:
        """Break the rule that a query reads, and hide it."""
        self.number += 1_000
        try:
            MISDEEDS[how](self)
        except Exception:  # as careless code does
            self.number += 1
        return self.number

    @workflow.query
    def fails(self) -> int:
        raise Untidy("not today")

    @workflow.update
    def set_to(self, number: int) -> int:
        before, self.number = self.number, number
        return before

    @set_to.validator
    def _check(self, number: int) -> None:
        if number == 13:
            self.number = number  # to be undone
            raise ValueError("not 13")
        if number == 14:
            MISDEEDS["timer"](self)

    @workflow.update
    async def pay(self, amount: int) -> int:
        self.seen.append(f"pay {amount}")
        self.number += await priced(amount)
        return self.number

    @workflow.update
    def finish(self) -> int:
        self.is_over = True
        return self.number

    @workflow.update
    def raises(self) -> None:
        raise Untidy("failed on purpose")

    @workflow.update
    def has_a_bug(self) -> int:
        return int(self.no_such_attribute)  # type: ignore[attr-defined]

    @workflow.update
    async def continues(self) -> None:
        continue_as_new(Counter(0))


def _swallowed_task(counter: Counter) -> None:
    task = asyncio.ensure_future(priced(1))
    assert task


MISDEEDS: dict[str, Callable[[Counter], object]] = {
    "activity": _swallowed_task,
    "timer": lambda counter: asyncio.get_running_loop().call_later(1, print),
    "random": lambda counter: random().random(),
    "side effect": lambda counter: side_effect(lambda: 1),
    "signal": lambda counter: get_run("other").signal(word, "x"),
    "woken code": lambda counter: counter.event.set() or asyncio.get_running_loop().call_soon(print),
    "next run": lambda counter: continue_as_new(Counter(0)),
    "handler": lambda counter: shown.answer(list),
    "sleep": lambda counter: asyncio.ensure_future(sleep(1)),
}


@workflow(name="counters-words")
async def words(generation: int = 0, kept: list[str] | None = None) -> list[str]:
    """Words of updates, which it takes once it was opened; each `stop` continues it as new."""
    known = kept or []

    def add(value: str) -> int:
        known.append(value)
        return len(known)

    def check(value: str) -> None:
        if not value:
            raise ValueError("say something")

    shown.answer(lambda: known)
    await opened.wait()
    async with add_word.answer(add, validator=check):
        while (said := await word.wait()) != "end":
            if said == "stop":
                continue_as_new(words(generation + 1, known))
            known.append(said)
    return known


@workflow(name="counters-impatient", unfinished_handlers="abandon")
class Impatient:
    """Does not wait for its handlers."""

    def __init__(self) -> None:
        self.is_over = False

    @workflow.run
    async def run(self) -> str:
        await wait_condition(lambda: self.is_over)
        return "over"

    @workflow.update
    async def slow(self) -> str:
        await sleep(3600)
        return "late"

    @workflow.signal
    def close(self) -> None:
        self.is_over = True


slow_word = Update("counters-slow", returns=str)


@workflow(name="counters-slow-words")
async def slow_words() -> None:
    """Takes an update that sleeps, once it was opened."""

    async def answer() -> str:
        await sleep(5)
        return "slow"

    await opened.wait()
    slow_word.answer(answer)
    await word.wait()
