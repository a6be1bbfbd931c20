"""Workflows that are talked to, for tests of queries, updates and chains."""

from __future__ import annotations

from penstock import Query, Saga, Signal, Update, activity, continue_as_new, random, sleep, wait_condition, workflow
from penstock.engine.authoring.definition import registered_workflows

talk_stage = Query("talk-stage", str)
talk_rename = Update("talk-rename", str, str)
talk_add = Signal("talk-add", int)


@activity(name="talk_double")
async def double(n: int) -> int:
    """Twice the number."""
    return 2 * n


@activity(name="talk_undo")
async def undo(n: int) -> None:
    """Undo `double`."""


@workflow(name="talk_account")
class Account:
    """A run with every kind of handler."""

    def __init__(self, balance: int = 0) -> None:
        self.balance, self.closed, self.order = balance, False, ["init"]

    @workflow.run
    async def run(self) -> int:
        """Until it is closed."""
        self.order.append("run")
        await wait_condition(lambda: self.closed)
        return self.balance

    @workflow.signal
    def deposit(self, amount: int) -> None:
        """Add an amount."""
        self.order.append(f"deposit {amount}")
        self.balance += amount

    @workflow.signal
    async def close(self) -> None:
        """Close the account."""
        self.closed = True

    @workflow.signal
    def break_down(self) -> None:
        """Meet a bug."""
        raise AttributeError("a bug in a signal")

    @workflow.signal
    def refuse(self) -> None:
        """Fail the run on purpose."""
        raise ValueError("refused")

    @workflow.query
    def read(self) -> int:
        """The balance."""
        return self.balance

    @workflow.query
    def told(self) -> list[str]:
        """What happened, in order."""
        return self.order

    @workflow.query
    def over(self, limit: int) -> bool:
        """Whether the balance is over a limit."""
        return self.balance > limit

    @workflow.query
    def failing(self) -> int:
        """Raise."""
        raise ValueError("no answer")

    @workflow.query
    def rolling(self) -> float:
        """Use the run's random numbers."""
        return random().random()

    @workflow.query
    def sleeping(self) -> int:
        """Begin a wait."""
        sleep(1).send(None)
        return 0

    @workflow.update
    def withdraw(self, amount: int) -> int:
        """Take an amount."""
        self.balance -= amount
        return self.balance

    @withdraw.validator
    def _enough(self, amount: int) -> None:
        if amount > self.balance:
            raise ValueError("not enough")

    @workflow.update
    async def doubled(self, amount: int) -> int:
        """Add the double of an amount."""
        self.balance += await double(amount)
        return self.balance

    @workflow.update
    def lose(self) -> int:
        """Raise an error of its own."""
        raise LookupError("lost")

    @workflow.update
    def bug(self) -> int:
        """Meet a bug."""
        raise AttributeError("a bug in an update")

    @workflow.update
    def touching(self) -> int:
        """Never accepted: its validator makes a request."""
        return 0

    @touching.validator
    def _touches(self) -> None:
        random()


@workflow(name="talk_hasty", unfinished_handlers="abandon")
class Hasty:
    """A run that does not wait for its handlers."""

    def __init__(self) -> None:
        self.closed = False

    @workflow.run
    async def run(self) -> str:
        """Until it is closed."""
        await wait_condition(lambda: self.closed)
        return "closed"

    @workflow.signal
    def close(self) -> None:
        """Close it."""
        self.closed = True

    @workflow.update
    async def slow(self) -> int:
        """Wait for an activity."""
        return await double(1)


@workflow(name="talk_named")
async def named(name: str) -> str:
    """A run that takes its update after a while."""
    names = [name]
    talk_stage.answer(lambda: names[-1])
    await sleep(10)

    def rename(new: str) -> str:
        names.append(new)
        return f"was {names[-2]}"

    def check(new: str) -> None:
        if not new:
            raise ValueError("a name is not empty")

    async with talk_rename.answer(rename, validator=check):
        await wait_condition(lambda: len(names) > 1)
    await sleep(10)
    return names[-1]


@workflow(name="talk_summing")
async def summing(left: int, total: int) -> int:
    """A chain that reads one signal in each run."""
    total += await talk_add.wait()
    if left:
        continue_as_new(summing(left - 1, total))
    return total


@workflow(name="talk_spinning")
async def spinning(left: int) -> str:
    """A chain without a wait."""
    if left:
        continue_as_new(spinning(left - 1))
    return "done"


@workflow(name="talk_saga")
async def in_saga(left: int) -> str:
    """Continue within a saga."""
    async with Saga() as saga:
        await saga.do(double(1), undo=undo(1))
        if left:
            continue_as_new(in_saga(left - 1))
    return "done"


@workflow(name="talk_entity")
class Entity:
    """A chain that takes updates and signals."""

    def __init__(self, runs: int) -> None:
        self.runs, self.next, self.heard = runs, False, 0

    @workflow.run
    async def run(self) -> int:
        """One run of the chain."""
        await wait_condition(lambda: self.next)
        if self.runs:
            continue_as_new(Entity(self.runs - 1))
        return self.heard

    @workflow.signal
    def go_on(self) -> None:
        """End this run."""
        self.next = True

    @workflow.signal
    def leave(self) -> None:
        """Continue from a handler, which is refused."""
        continue_as_new(Entity(0))

    @workflow.update
    async def hear(self, n: int) -> int:
        """Count, after an activity."""
        self.heard += await double(n)
        return self.heard

    @workflow.query
    def left(self) -> int:
        """Runs that follow."""
        return self.runs


def definition(name: str):
    """The definition of that name."""
    return registered_workflows()[name]
