"""What does workflow code do when these facts reach it? Drives one run's code from wait to wait.

A program is a cache entry: everything in it follows from the run's history (replayer.py). Facts go in, orders come
out. While `expected` is set, orders are not news but are matched against those in the history.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import operator
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.engine.core.rows import Listening
from penstock.engine.execution import guards
from penstock.engine.execution.loop import OrderFuture, WorkflowLoop
from penstock.schemas.errors import (
    ActivityFailed,
    CallNotAwaited,
    ChildWorkflowFailed,
    EndlessWorkflow,
    NonDeterminism,
    NonDeterministicCall,
    WorkflowFailed,
)
from penstock.schemas.records import events as e
from penstock.schemas.values.failure import Failure, failure_of

if TYPE_CHECKING:
    from penstock.engine.authoring.workflow import WorkflowDefinition
    from penstock.schemas.values.call import Call, Lazy

ROUNDS_MAX = 100_000
NAMES_MAX, NAME_CHARS_MAX = 20, 100  # of signals in a run's header
_IN_CIRCLES = (
    f"Conditions of the workflow became true {ROUNDS_MAX:,} times without its waiting for an activity, a signal or a "
    "timer; await one of them between two wait_condition()."
)
_RAISED = b"!"  # begins no JSON: the recorded value of a side effect that raised, before its failure
CLOSING_ORDERS = (e.WorkflowCompleted, e.WorkflowFailed, e.WorkflowCancelled)
ORDERS = frozenset(
    {
        e.ActivityScheduled,
        e.ActivityCancelled,
        e.TimerStarted,
        e.TimerCancelled,
        e.ChildScheduled,
        e.ChildCancelRequested,
        e.SideEffectRecorded,
        e.PatchMarked,
        e.ExternalSignalSent,
        e.ExternalCancelRequested,
        *CLOSING_ORDERS,
    }
)


class Program:
    """One run's code between two waits. Used by one thread at a time."""

    def __init__(self, definition: WorkflowDefinition[Any, Any], workflow_id: str, run_id: str) -> None:
        self.definition, self.workflow_id, self.run_id = definition, workflow_id, run_id
        self.started: e.WorkflowStarted | None = None
        self.started_ms = 0
        self.closing = False
        self.loop = WorkflowLoop(self)  # type: ignore[abstract]  # what it leaves out is refused at run time
        self.timers: dict[int, Any] = {}
        self.patches: dict[str, bool] = {}
        self.conditions: list[tuple[Callable[[], bool], asyncio.Future[Any]]] = []
        self.expected: deque[Any] | None = None
        self.mismatch: str = ""
        self._sequence = 0
        self._orders: list[Any] = []
        self._pending: dict[int, OrderFuture] = {}
        self._signals: dict[str, deque[bytes]] = {}
        self._signal_waiters: dict[str, deque[asyncio.Future[Any]]] = {}
        self._main: asyncio.Task[Any] | None = None
        self._cancel_reason: str | None = None
        self._dropped: str = ""
        self._callback_error: BaseException | None = None
        self._ended = False
        self._in_side_effect = False

    def activate(self, facts: Iterable[Any], now_ms: int) -> list[Any]:
        """Let `facts` reach the code, run it until it waits again, and return the orders it gave."""
        self.loop.now_ms = now_ms
        orders: list[Any] = []
        self._orders = orders
        collects = gc.isenabled()
        gc.disable()  # a collection runs whatever it finalizes under this loop, at a moment that no replay repeats
        try:
            self._deliver(facts)
            self._end_if_done()
        finally:
            if collects:
                gc.enable()
        return orders

    def _deliver(self, facts: Iterable[Any]) -> None:
        before = self.loop.enter()
        guards.enter()
        try:
            for fact in facts:
                _DELIVER[type(fact)](self, fact)
            self._run_until_idle()
        finally:
            guards.leave()
            self.loop.leave(before)

    def replay(self, facts: Iterable[Any], now_ms: int, orders: Iterable[Any]) -> None:
        """Like `activate`, for a decision of the past. Raises NonDeterminism if the code now orders otherwise."""
        self.expected = deque(orders)
        try:
            self.activate(facts, now_ms)
            if not self.mismatch and self.expected:
                self.mismatch = f"history goes on with {_words(self.expected[0])}, the code at hand gives no such order"
        finally:
            self.expected = None
        if self.mismatch:
            raise NonDeterminism(self.mismatch)

    def close(self) -> None:
        """Forget the code's progress; it can be rebuilt from history. Runs no order and keeps no task alive."""
        self.closing = True
        before = self.loop.enter()
        try:
            self.loop.close_tasks()
        finally:
            self.loop.leave(before)
        self._pending.clear()
        self._signal_waiters.clear()
        self.timers.clear()
        self.conditions.clear()
        self._main = None

    @functools.cached_property
    def random(self) -> random.Random:
        """The run's own chance, made when it is first asked for: seeding is dear."""
        return random.Random(self.run_id)  # noqa: S311 - repeatable chance is the point

    @property
    def replaying(self) -> bool:
        """Whether the present activation repeats a decision of the past."""
        return self.expected is not None

    # Orders: what the code asks for.

    def perform(self, call: Call[Any]) -> OrderFuture:
        """Order an activity or a child workflow."""
        self.refuse_if_closing()
        sequence = self.next_sequence()
        order = call.order(sequence, self.workflow_id, self.run_id)
        self.give(order)
        kind = "activity" if type(order) is e.ActivityScheduled else "child"
        future = self._pending[sequence] = self.loop.order_future(sequence, kind)
        future.workflow_id = getattr(order, "workflow_id", "")  # type: ignore[attr-defined]  # a child's, to cancel it
        return future

    def order_cancelled(self, sequence: int, kind: str) -> None:
        """The code no longer waits for the order."""
        future = self._pending.pop(sequence, None)
        if self.closing or future is None:
            return
        if kind == "activity":
            self.give(e.ActivityCancelled(sequence=sequence))
        else:
            self.give(e.ChildCancelRequested(sequence=sequence, workflow_id=future.workflow_id))  # type: ignore[attr-defined]

    def timer_started(self, due_ms: int) -> int:
        """Order a timer; returns its sequence."""
        self.refuse_if_closing()
        sequence = self.next_sequence()
        self.give(e.TimerStarted(sequence=sequence, due_ms=due_ms))
        return sequence

    def timer_cancelled(self, sequence: int) -> None:
        """The code no longer waits for the timer."""
        if self.timers.pop(sequence, None) is not None and not self.closing:
            self.give(e.TimerCancelled(sequence=sequence))

    def recorded_value(self, run: Callable[[], bytes]) -> bytes:
        """The value of a side effect: made by `run` the first time, from history afterwards. Raises WorkflowFailed."""
        self.refuse_within_side_effect("side_effect()")
        sequence = self.next_sequence()
        if self.expected is not None:
            head = self.expected[0] if self.expected else None
            value = head.value if type(head) is e.SideEffectRecorded else b"null"
        else:
            value = self._made(run)
        self.give(e.SideEffectRecorded(sequence=sequence, value=value))
        return _returned(value)

    def _made(self, run: Callable[[], bytes]) -> bytes:
        self._in_side_effect = True
        try:
            with guards.allowed():
                return run()
        except BaseException as error:  # noqa: BLE001 - code may catch it, and must go the same way on replay
            return _RAISED + msgspec.json.encode(failure_of(error))
        finally:
            self._in_side_effect = False

    def refuse_within_side_effect(self, what: str) -> None:
        """What a side effect's function asks of the run would not happen on replay. Raises NonDeterministicCall."""
        if self._in_side_effect:
            raise NonDeterministicCall(
                f"{what} was called by the function that side_effect() runs, which is not run again on replay: "
                "call it outside and hand the value in, or use the standard library's own there."
            )

    def patched(self, patch: str) -> bool:
        """Whether this run was begun, or has come this far, with the code that knows `patch`."""
        known = self.patches.get(patch)
        if known is not None:
            return known
        if self.expected is not None:
            head = self.expected[0] if self.expected else None
            if type(head) is not e.PatchMarked or head.patch != patch:
                self.patches[patch] = False
                return False
        self.give(e.PatchMarked(sequence=self.next_sequence(), patch=patch))
        self.patches[patch] = True
        return True

    def next_sequence(self) -> int:
        """The number of the next order."""
        self._sequence += 1
        return self._sequence

    def give(self, order: Any) -> None:
        """Record an order, or match it with the one in history."""
        if self.expected is None:
            self._orders.append(order)
            return
        if self.mismatch:
            return
        if not self.expected:
            self.mismatch = f"the code at hand orders {_words(order)}, where history holds nothing more"
        elif _mark(found := self.expected.popleft()) != _mark(order):
            self.mismatch = f"history holds {_words(found)}, the code at hand orders {_words(order)}"

    def refuse_if_closing(self) -> None:
        """While a run is being evicted, whatever its `finally` blocks await is refused in silence."""
        if self.closing:
            raise GeneratorExit

    def call_dropped(self, call: Lazy[Any]) -> None:
        """The code made a call, or a wait, and threw it away: its run fails, naming the line."""
        if not self.closing and not self._dropped:
            self._dropped = (
                f"{call.name}(…) was called at {call.made_at} but never awaited; write `await {call.name}(…)`."
            )

    def callback_failed(self, error: BaseException) -> None:
        """A callback of the loop raised."""
        if self._callback_error is None:
            self._callback_error = error

    # Signals and conditions.

    def listening(self) -> Listening | None:
        """What the code waits for besides its orders, and which signals it has not read; None for neither."""
        if not (self._signal_waiters or self._signals or self.conditions):
            return None
        awaited = [name for name, waiters in self._signal_waiters.items() if not all(map(_is_done, waiters))]
        found = Listening(
            awaited=tuple(name[:NAME_CHARS_MAX] for name in sorted(awaited)[:NAMES_MAX]),
            conditions=sum(not future.done() for _, future in self.conditions),
            unread={
                name[:NAME_CHARS_MAX]: len(values)
                for name, values in itertools.islice(self._signals.items(), NAMES_MAX)
                if values
            },
        )
        return found if found != Listening() else None

    def signal_future(self, name: str) -> asyncio.Future[Any]:
        """The next value of that signal: one that waits already, or the next to come."""
        future = self.loop.create_future()
        buffered = self._signals.get(name)
        if buffered:
            future.set_result(buffered.popleft())
            return future
        waiters = self._signal_waiters.setdefault(name, deque())
        while waiters and waiters[0].done():  # of those who gave up: code may look again and again
            waiters.popleft()
        waiters.append(future)
        return future

    def signal_unread(self, name: str, value: bytes) -> None:
        """A reader was cancelled before seeing the value: it is the next one's, or the first of those that wait."""
        if not self._hand_over(name, value):
            self._signals.setdefault(name, deque()).appendleft(value)

    def _run_until_idle(self) -> None:
        self.loop.drain()
        rounds = 0
        while self.conditions and self._meet_conditions():
            self.loop.drain()
            rounds += 1
            if rounds > ROUNDS_MAX:
                self.callback_failed(EndlessWorkflow(_IN_CIRCLES))
                return

    def _meet_conditions(self) -> bool:
        met = False
        for condition in list(self.conditions):
            test, future = condition
            if future.done():
                self.conditions.remove(condition)
            elif _holds(test, future):
                self.conditions.remove(condition)
                met = True
        return met

    # The end.

    def _end_if_done(self) -> None:
        main = self._main
        if self._ended or main is None:
            return
        if self._dropped and not (main.done() and (main.cancelled() or main.exception() is not None)):
            self._end(e.WorkflowFailed(failure=failure_of(CallNotAwaited(self._dropped))))
        elif main.done():
            self._end(self._outcome(main))
        elif self._callback_error is not None:
            self._end(e.WorkflowFailed(failure=failure_of(self._callback_error)))

    def _end(self, order: Any) -> None:
        self._ended = True
        self.give(order)
        self.close()

    def _outcome(self, main: asyncio.Task[Any]) -> Any:
        if main.cancelled():
            if self._cancel_reason is not None:
                return e.WorkflowCancelled(reason=self._cancel_reason)
            return e.WorkflowFailed(
                failure=Failure(type="CancelledError", message="workflow code cancelled itself", kind="cancelled")
            )
        error = main.exception()
        if error is not None:
            return e.WorkflowFailed(failure=_failure_of(error))
        try:
            return e.WorkflowCompleted(result=self.definition.signature.returns.encode(main.result()))
        except Exception as unfit:  # noqa: BLE001 - whatever the user's type raises while it is encoded
            return e.WorkflowFailed(failure=failure_of(unfit))

    # Facts: what reaches the code.

    def _start(self, fact: e.WorkflowStarted) -> None:
        self.started, self.started_ms = fact, self.loop.now_ms
        try:
            arguments = self.definition.signature.decode(fact.input)
        except Exception as error:
            raise NonDeterminism(f"the code at hand cannot take the run's recorded input: {error}") from error
        self._main = self.loop.create_task(self.definition.fn(*arguments), name=self.definition.name)

    def _resolve(self, sequence: int, value: bytes) -> None:
        future = self._pending.pop(sequence, None)
        if future is not None and not future.done():
            future.set_result(value)

    def _reject(self, sequence: int, error: Exception) -> None:
        future = self._pending.pop(sequence, None)
        if future is not None and not future.done():
            future.set_exception(error)

    def _fire(self, fact: e.TimerFired) -> None:
        handle = self.timers.pop(fact.sequence, None)
        if handle is not None:
            self.loop.fire(handle)

    def _signal(self, fact: e.SignalReceived) -> None:
        if not self._hand_over(fact.signal, fact.input):
            self._signals.setdefault(fact.signal, deque()).append(fact.input)

    def _hand_over(self, name: str, value: bytes) -> bool:
        """Give a signal's value to who waits longest; whether anybody waits."""
        waiters = self._signal_waiters.get(name)
        while waiters:
            future = waiters.popleft()
            if not future.done():
                future.set_result(value)
                return True
        return False

    def _cancel(self, fact: e.CancelRequested) -> None:
        if self._main is not None and self._cancel_reason is None:
            self._cancel_reason = fact.reason
            self._main.cancel()


_is_done = operator.methodcaller("done")


def _holds(test: Callable[[], bool], future: asyncio.Future[Any]) -> bool:
    try:
        if test():
            future.set_result(None)
            return True
    except StopIteration as error:  # no future takes it, as no coroutine may raise it
        future.set_exception(RuntimeError(f"the condition raised {error!r}"))
        return True
    except BaseException as error:  # noqa: BLE001 - the user's condition failed: its waiter is told, and nobody else
        future.set_exception(error)
        return True
    return False


def _returned(value: bytes) -> bytes:
    """What a side effect gave. Raises WorkflowFailed, live and on replay, where it raised."""
    if value.startswith(_RAISED):
        raise WorkflowFailed(failure=msgspec.json.decode(value[len(_RAISED) :], type=Failure))
    return value


def _failure_of(error: BaseException) -> Failure:
    """The run's failure; what a failed activity or child said about itself stays readable."""
    failure = failure_of(error)
    if isinstance(error, ActivityFailed | ChildWorkflowFailed) and error.failure is not None:
        return msgspec.structs.replace(failure, message=f"{error} ({error.type})" if error.type else str(error))
    if isinstance(error, WorkflowFailed) and error.failure is not None:
        return error.failure
    return failure


_DELIVER: dict[type, Callable[[Program, Any], None]] = {
    e.WorkflowStarted: Program._start,
    e.ActivityCompleted: lambda program, fact: program._resolve(fact.sequence, fact.result),
    e.ActivityFailed: lambda program, fact: program._reject(fact.sequence, ActivityFailed(failure=fact.failure)),
    e.ChildCompleted: lambda program, fact: program._resolve(fact.sequence, fact.result),
    e.ChildFailed: lambda program, fact: program._reject(fact.sequence, ChildWorkflowFailed(failure=fact.failure)),
    e.TimerFired: Program._fire,
    e.SignalReceived: Program._signal,
    e.CancelRequested: Program._cancel,
    e.WorkflowUnblocked: lambda program, fact: None,
    e.ActivityAttemptFailed: lambda program, fact: None,
    e.ActivityRetried: lambda program, fact: None,
}


def _mark(order: Any) -> tuple[Any, ...]:
    """What must agree between an order and its record; inputs may differ (a new default is no new decision)."""
    return (type(order), getattr(order, "sequence", 0), _subject(order))


def _subject(order: Any) -> str:
    match order:
        case e.ActivityScheduled():
            return order.activity
        case e.ChildScheduled():
            return f"{order.workflow_type} {order.workflow_id}"
        case e.PatchMarked():
            return order.patch
        case e.ExternalSignalSent():
            return f"{order.workflow_id} {order.signal}"
        case e.ExternalCancelRequested():
            return order.workflow_id
    return ""


def _words(order: Any) -> str:
    sequence = getattr(order, "sequence", 0)
    subject = _subject(order)
    return type(order).__name__ + (f" {subject}" if subject else "") + (f" as order {sequence}" if sequence else "")
