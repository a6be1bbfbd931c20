"""Tests of workflows that are written as classes: what their objects are, outside of a run and in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from penstock.engine.authoring.class_form import claimed_call, definition_of
from penstock.engine.authoring.context import info, now
from penstock.engine.authoring.waiting import wait_condition
from penstock.engine.authoring.workflow import workflow
from penstock.schemas.errors import BadInput, BadName
from penstock.schemas.records.signal import SignalWorkflow
from tests.engine.stage import Stage

made: list[str] = []


@workflow(name="class-frozen")
@dataclasses.dataclass(frozen=True)
class Frozen:
    """A frozen dataclass."""

    name: str
    times: int = 2
    seen: dict[str, int] = dataclasses.field(default_factory=dict)

    @workflow.run
    async def run(self) -> list[str]:
        """Wait for so many signals."""
        await wait_condition(lambda: sum(self.seen.values()) >= self.times)
        return [f"{self.name} {key}" for key in self.seen]

    @workflow.signal
    def jot(self, word: str) -> None:
        """Count a word."""
        self.seen[word] = self.seen.get(word, 0) + 1


@workflow(name="class-orders")
class Orders:
    """Writes down what happens, in order."""

    def __init__(self, first: str) -> None:
        made.append(first)
        self.order = [first, f"init of {info().workflow_type}", str(now().year)]

    @workflow.run
    async def run(self) -> list[str]:
        """End after three words."""
        self.order.append("run")
        await wait_condition(lambda: len(self.order) >= 7)
        return self.order

    @workflow.signal
    def say(self, word: str) -> None:
        """Write a word down."""
        self.order.append(word)


class Shouts(Orders):
    """A subclass that is no workflow."""

    def __init__(self) -> None:
        super().__init__("loud")


def test_a_frozen_dataclass_is_a_workflow() -> None:
    """Its fields are the input; one with a default factory is made in each run, from its recorded input."""
    stage = Stage(Frozen)
    stage.start(Frozen, "ann")
    assert stage.history()[0]["input"] == {"name": "ann", "times": 2}
    for word in ("b", "a"):
        stage.restart()
        stage.signal("jot", word)
    assert stage.described()["result"] == ["ann b", "ann a"]


def test_an_object_outside_of_its_run_is_only_a_call() -> None:
    """Making one runs no `__init__`, so that it may ask for the run's time; the input is what was given."""
    made.clear()
    call = claimed_call(Orders("x"), "start")
    assert (call.name, call.input, made) == ("class-orders", b'"x"', [])


def test_init_precedes_handlers_and_handlers_run() -> None:
    """A signal that comes with the start finds the object that `__init__` made, and `run` finds what the signal did."""
    stage = Stage(Orders)
    fields = {"signal": "say", "handed": b'"first"', "on_existing": "restart_closed"}
    stage.start(Orders, "x", **fields)
    for word in ("second", "third"):
        stage.signal("say", word)
    assert stage.described()["result"] == [
        "x", "init of class-orders", "2023", "first", "run", "second", "third",
    ]  # fmt: skip


def test_all_handlers_of_a_batch_run_before_the_end() -> None:
    """Signals that are decided together with the one that lets `run` return are all in its result's object."""
    stage = Stage(Orders)
    stage.start(Orders, "x", start_delay_ms=1_000)
    for word in ("a", "b", "c", "d", "e"):
        stage.signal("say", word)
    stage.advance(1)
    assert stage.described()["result"][3:] == ["a", "b", "c", "d", "e", "run"]


def test_a_subclass_is_no_workflow() -> None:
    """An undecorated subclass is a class as any other: it runs the base's `__init__`, and cannot be started."""
    assert (definition_of(Shouts), definition_of(Orders) is not None) == (None, True)
    made.clear()
    with pytest.raises(Exception, match="works only inside a workflow"):
        Shouts()
    assert made == ["loud"]


def test_arguments_are_checked_where_the_object_is_made() -> None:
    """An argument that `__init__` does not take is refused at once, naming the class."""
    with pytest.raises(BadInput, match=r"class-orders\(first\)"):
        Orders()  # type: ignore[call-arg]


def _no_run() -> None:
    @workflow
    class NoRun:
        async def run(self) -> None: ...


def _arguments_of_run() -> None:
    @workflow
    class Arguments:
        @workflow.run
        async def run(self, number: int) -> None: ...


def _another_name() -> None:
    @workflow
    class Another:
        @workflow.run
        async def go(self) -> None: ...


def _slots() -> None:
    @workflow
    class Slots:
        __slots__ = ()

        @workflow.run
        async def run(self) -> None: ...


def _two_of_a_name() -> None:
    @workflow
    class Two:
        @workflow.run
        async def run(self) -> None: ...

        @workflow.query
        def stage(self) -> int:
            return 1

        @workflow.query(name="stage")
        def other(self) -> int:
            return 2


def _async_query() -> None:
    @workflow
    class Asks:
        @workflow.run
        async def run(self) -> None: ...

        @workflow.query
        async def stage(self) -> int:
            return 1


def _two_validators() -> None:
    @workflow
    class Checks:
        @workflow.run
        async def run(self) -> None: ...

        @workflow.update
        def amend(self, number: int) -> None: ...

        @amend.validator
        def _first(self, number: int) -> None: ...

        @amend.validator
        def _second(self, number: int) -> None: ...


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (_no_run, "NoRun needs `@workflow.run` on `async def run"),
        (_arguments_of_run, "Arguments.run takes no arguments: the workflow's input goes to __init__"),
        (_another_name, "goes onto the method that is the workflow: `async def run"),
        (_slots, "Slots has __slots__ and no __dict__"),
        (_two_of_a_name, "Two has two handlers of the query stage"),
        (_async_query, "The query stage is async"),
        (_two_validators, "The update amend has a validator already: _first"),
    ],
)
def test_a_class_that_is_no_workflow_is_refused(wrong: Callable[[], None], message: str) -> None:
    """The decorator refuses at once, and says what to write, what could not be run."""
    with pytest.raises((BadName, BadInput)) as caught:
        wrong()
    assert message in str(caught.value)


def test_a_signal_to_a_class_is_checked_by_its_method() -> None:
    """A value that the method does not take is refused, and reaches no code."""
    stage = Stage(Orders)
    stage.start(Orders, "x")
    refused = stage.replied(SignalWorkflow(workflow_id="run-1", signal="say", input=b"[7]", message_id="s"))
    assert refused.reason == "bad_input"
    assert stage.events() == ["WorkflowStarted"]
    stage.nodes[0].close()


@workflow(name="class-other-say")
class OtherSay:
    """Takes a signal of the same name with a value of another type."""

    def __init__(self) -> None:
        self.said: list[int] = []

    @workflow.run
    async def run(self) -> list[int]:
        """End after two numbers."""
        await wait_condition(lambda: len(self.said) >= 2)
        return self.said

    @workflow.signal
    def say(self, number: int) -> None:
        """Keep a number."""
        self.said.append(number)


def test_a_value_for_another_class_s_signal_of_that_name_is_refused() -> None:
    """Two classes may have a signal of one name: a value that only the other one's takes is refused, and the run goes
    on."""
    stage = Stage(Orders, OtherSay)
    stage.start(OtherSay)
    for value, reason in ((b'"a word"', "bad_input"), (b"7", None), (b"null", "bad_input"), (b"8", None)):
        command = SignalWorkflow(workflow_id="run-1", signal="say", input=value, message_id=stage.message_id())
        assert getattr(stage.replied(command), "reason", None) == reason
    assert stage.described()["result"] == [7, 8]
