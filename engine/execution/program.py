"""One run's workflow code, driven from wait to wait: events are delivered, requests come back.

A program is a cache entry: everything in it follows from the run's history (replayer.py). While a decision of the past
is repeated, its requests are compared with the recorded ones instead of being recorded (matching.py).
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

import msgspec

from penstock.engine.core.catalogue import DELIVERIES
from penstock.engine.core.execution import ActivationOverran, InputDifference
from penstock.engine.core.limits import REQUEST_BYTES_MAX, REQUESTS_MAX
from penstock.engine.execution import guards
from penstock.engine.execution.bugs import bugs_in, code_error
from penstock.engine.execution.code import Code
from penstock.engine.execution.continuing import continuation, continued_as, continues
from penstock.engine.execution.failing import going_back, oversized, run_failure
from penstock.engine.execution.footprint import (
    DELIVERED_FACTOR,
    MEASURED_BYTES_MIN,
    PROGRAM_BYTES,
    TASK_BYTES,
    WAIT_BYTES,
    measure,
)
from penstock.engine.execution.handlers import Handlers
from penstock.engine.execution.inbox import CIRCULAR, ROUNDS_MAX, Conditions, Signals, listening
from penstock.engine.execution.loop import RequestFuture, WorkflowLoop
from penstock.engine.execution.matching import Matcher, Rewrite
from penstock.engine.execution.notes import Notes
from penstock.engine.execution.requests import CHILD, ended_by, request_of, stop_of, withdrawal_of
from penstock.engine.execution.unretrieved import log_unretrieved
from penstock.schemas.errors import (
    CallNotAwaited,
    EndlessWorkflow,
    NonDeterminism,
    NonDeterministicCall,
    WorkflowFailedError,
)
from penstock.schemas.failure import Failure
from penstock.schemas.records.decisions import Listening
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.marker import PatchMarked, SideEffectRecorded
from penstock.schemas.records.run import WorkflowCancelled, WorkflowCompleted, WorkflowFailed, WorkflowStarted
from penstock.schemas.records.suspension import ActivationSuspended
from penstock.schemas.records.timer import TimerCancelled, TimerStarted
from penstock.schemas.records.update import UpdateHeld
from penstock.schemas.values.call import Call
from penstock.schemas.values.failure import failure_of
from penstock.schemas.values.lazy import Lazy
from penstock.schemas.values.payload import PAYLOAD_BYTES_MAX

T = TypeVar("T")

UNDO_LEFT = "penstock: a saga met a bug and undid nothing"
"""Marker of a choice that replay must repeat, as code may catch the error that the saga raised again."""

_RAISED = b"!"  # begins no JSON: the recorded value of a side effect that raised, before its failure


class Program:
    """Execution of one run's coroutine. Used by one thread at a time."""

    # fmt: off
    __slots__ = (  # instances with more than 30 attributes and without slots are slower in Python 3.11
        "_bug_undone", "_callback_error", "_cancel_reason", "_code", "_delivered_bytes", "_dropped_call", "_ended",
        "_in_side_effect", "_main", "_matcher", "_measured_bytes", "_over", "_overran", "_patches", "_pending",
        "_random", "_request_bytes", "_requests", "_sequence", "closing", "conditions", "definition", "first_event",
        "handlers", "history_length", "loop", "notes", "reading", "refused_in_read", "run_id", "seed", "signals",
        "started", "started_ms", "timers", "workflow_id",
    )
    # fmt: on

    def __init__(self, definition: Code, workflow_id: str, run_id: str, seed: str) -> None:
        self.definition, self.workflow_id, self.run_id, self.seed = definition, workflow_id, run_id, seed
        self.started: WorkflowStarted | None = None
        self.started_ms = 0
        self.first_event = 1  # number in the history of the first event of the current decision; kept by replayer.py
        self.closing = False
        self.reading = ""  # the query or validator that runs now, as errors name it
        self.refused_in_read = ""  # why a request of it was refused
        self.loop = WorkflowLoop(self)  # type: ignore[abstract]  # the methods left out are refused at run time
        self.signals = Signals(self.loop)
        self.conditions = Conditions()
        self.handlers = Handlers(self.loop)
        self.notes = Notes()
        self.timers: dict[int, Any] = {}
        self._patches: dict[str, bool] = {}
        self._matcher: Matcher | None = None
        self._sequence = 0
        self.history_length = 0  # events that were delivered or requested: others are not known alike on replay
        self._requests: list[Any] = []
        self._pending: dict[int, RequestFuture] = {}
        self._code: Callable[[], Coroutine[Any, Any, Any]] | None = None  # of a run whose start is delayed
        self._main: asyncio.Task[Any] | None = None
        self._cancel_reason: str | None = None
        self._dropped_call: str = ""
        self._callback_error: BaseException | None = None
        self._overran: ActivationOverran | None = None
        self._bug_undone: BaseException | None = None
        self._ended = False
        self._in_side_effect = False
        self._request_bytes = 0
        self._over: frozenset[int] = frozenset()  # requests that the inputs of this activation end
        self._measured_bytes = self._delivered_bytes = 0
        self._random: random.Random | None = None

    # Execution (engine/core/execution.py).

    def activate(self, inputs: Iterable[Event], now_ms: int) -> list[Any]:
        """Deliver `inputs` to the code, run it until it waits again, and return the requests it made.

        Raises ActivationOverran; the program is closed then."""
        self.loop.now_ms = now_ms
        requests: list[Any] = []  # watch.py distinguishes activations by this list
        self._requests = requests
        self._request_bytes = 0
        inputs = tuple(inputs)
        self._over = ended_by(inputs) if len(inputs) > 1 else frozenset()
        collects = gc.isenabled()
        gc.disable()  # a collection runs finalizers under this loop, at a moment that no replay repeats
        try:
            self._deliver(inputs)
            if self._overran is not None:
                self._stop_at(self._overran)
            if not self.loop.ready:
                self._end_if_done()
            if self.loop.unretrieved:
                self._log_unretrieved()
        finally:
            if collects:
                gc.enable()
        return requests

    def replay(
        self, inputs: Sequence[Event], now_ms: int, requests: Sequence[Event], *, strict_inputs: bool = False
    ) -> list[InputDifference]:
        """Repeat a decision of the past; returns the requests whose inputs differ. Raises NonDeterminism, CodeError."""
        matcher = self._matcher = Matcher(requests)
        self._bug_undone, length = None, self.history_length + len(inputs) + len(requests)
        try:
            self.activate(inputs, now_ms)
        finally:
            self._matcher = None
        self.notes.follow(requests)
        self.history_length = length  # other code may make other notes
        try:
            return matcher.finish(self.definition.name, strict_inputs=strict_inputs)
        except NonDeterminism:
            if self._bug_undone is None:
                raise
            raise code_error(self._bug_undone) from None  # the cause: undoing is not what the history goes on with

    def listening(self) -> Listening | None:
        """Signals and conditions the code waits for, and what it answers; None for none."""
        if not (self.signals.waiters or self.signals.values or self.conditions.waiting or self.handlers.has_tokens):
            return None
        return listening(self.signals, self.conditions, self.handlers)

    def unread(self) -> list[Event]:
        """Signals that the code has not read, and updates that wait for a handler."""
        return [*self.signals.unread_events(), *self.handlers.held_events()]

    def answer(self, query: str, input: bytes) -> bytes:
        """The answer of a query's handler. Raises as Execution.answer says."""
        return self._read(lambda: self.handlers.answer(query, input))

    def check_signal(self, signal: str, input: bytes) -> None:
        """As Execution.check_signal says."""
        self._read(lambda: self.handlers.check_signal(signal, input))

    def check_update(self, update: str, input: bytes) -> bool:
        """Whether an update has a handler, after its validator. Raises as Execution.check_update says."""
        return self._read(lambda: self.handlers.check(update, input)) and not continues(self._main)

    def _read(self, read: Callable[[], T]) -> T:
        """Run code that reads the run's state, between two activations, or after its end."""
        self._requests = []  # watch.py distinguishes activations by this list
        before, owner, self.loop.owner = self.loop.enter(), self.loop.owner, self
        guards.enter()
        try:
            return read()
        finally:
            guards.leave()
            self.loop.leave(before)
            self.loop.owner = owner

    def size(self) -> int:
        """Estimate of its memory in bytes."""
        waits = len(self._pending) + len(self.timers) + len(self.signals.waiters) + len(self.conditions.waiting)
        counted = PROGRAM_BYTES + TASK_BYTES * len(self.loop.tasks) + WAIT_BYTES * waits
        return max(counted, self._measured_bytes) + DELIVERED_FACTOR * self._delivered_bytes

    def measured_size(self) -> int:
        """Its memory in bytes, after a measurement of values that make up most of the estimate."""
        if DELIVERED_FACTOR * self._delivered_bytes > MEASURED_BYTES_MIN:
            shared = {id(self.definition), *map(id, vars(self.definition).values())}
            self._measured_bytes, self._delivered_bytes = measure(self, shared), 0
        return self.size()

    def close(self) -> None:
        """Discard the code's progress; it can be rebuilt from history. Makes no request and keeps no task alive."""
        if self.closing:
            return
        self.closing = True
        before = self.loop.enter()
        try:
            self.loop.close_tasks()
        finally:
            self.loop.leave(before)
        self._pending.clear()
        self.signals.clear_waiters()
        self.timers.clear()
        self.conditions.clear()
        self._main = None
        self.loop.disown()

    def _deliver(self, inputs: Iterable[Event]) -> None:
        before = self.loop.enter()
        guards.enter()
        try:
            for event in inputs:
                delivery = DELIVERIES.get(type(event))
                if delivery is not None:
                    self.history_length += 1
                    delivery(self, event)
            if self.handlers.due:
                self.loop.put_first(self.handlers.begin_due)
            self._run_until_idle()
        finally:
            guards.leave()
            self.loop.leave(before)

    def _run_until_idle(self) -> None:
        """Run the code until it waits, or has made as many requests as one decision takes."""
        self.loop.drain()
        rounds = 0
        while self.conditions.waiting and self._may_go_on and self.conditions.resolve(self._go_on):
            rounds += 1
            if rounds > ROUNDS_MAX:
                self.callback_failed(EndlessWorkflow(CIRCULAR))
                return
        if self.loop.ready and self._overran is None:
            self.request(ActivationSuspended(sequence=self._sequence))

    def _go_on(self) -> bool:
        """Run the code behind a condition that holds; returns whether the next one may be tested."""
        self.loop.drain()
        return self._may_go_on

    @property
    def _may_go_on(self) -> bool:
        return not self.loop.ready and self._overran is None

    # Delivery of events (Receiver in engine/core/execution.py).

    def start(self, event: WorkflowStarted) -> None:
        """Create the main task. Raises NonDeterminism if today's code cannot take the recorded input."""
        self.started, self.started_ms = event, self.started_ms or self.loop.now_ms
        self._delivered_bytes += len(event.input)
        self.notes.search = event.search
        try:
            arguments = self.definition.signature.decode(event.input)
        except Exception as error:
            raise NonDeterminism(f"the code cannot take the run's recorded input: {error}") from error
        self._code = self.definition.begun(self.handlers, arguments)
        if not event.begins_ms:
            self.begin()

    def begin(self) -> None:
        """Let the code begin."""
        code, self._code = self._code, None
        if code is not None:
            self._main = self.loop.create_task(code(), name=self.definition.name)

    def fork(self, run_id: str, seed: str) -> None:
        """Go on as another run, with chances of its own."""
        self.run_id, self.seed = run_id, seed
        self.random.seed(seed)  # in place: code may keep the object

    def resolve(self, sequence: int, value: bytes) -> None:
        """Give a request its result."""
        self._delivered_bytes += len(value)
        future = self._pending.pop(sequence, None)
        if future is not None:
            future.resolve(value)

    def reject(self, sequence: int, error: Exception) -> None:
        """Give a request its failure."""
        future = self._pending.pop(sequence, None)
        if future is not None:
            future.reject(error)

    def child_started(self, sequence: int, run_id: str) -> None:
        """Let the code that awaits a child's start go on."""
        if sequence in self._pending:
            self._pending[sequence].begun(run_id)

    def fire(self, sequence: int) -> None:
        """Run the callback of a timer that is due."""
        handle = self.timers.pop(sequence, None)
        if handle is not None:
            self.loop.fire(handle)

    def signal(self, name: str, value: bytes) -> None:
        """Hand a signal's value to the code, now or when it asks."""
        self._delivered_bytes += len(value)
        if not self.handlers.takes_signal(name, value):
            self.signals.arrived(name, value)

    def update(self, message_id: str, name: str, value: bytes) -> None:
        """Let the handler of an accepted update begin."""
        self._delivered_bytes += len(value)
        self.handlers.begin_update(message_id, name, value)

    def hold(self, event: UpdateHeld) -> None:
        """Keep an update until code registers a handler for it."""
        self._delivered_bytes += len(event.input)
        self.handlers.hold(event, takes=not continues(self._main))

    def cancel(self, reason: str) -> None:
        """Cancel the main task, once; one that has not begun does not begin."""
        self.begin()
        if self._main is not None and self._cancel_reason is None:
            self._cancel_reason = reason
            self._main.cancel(reason or None)
            self.handlers.cancel(reason)

    # Requests of the code (LoopOwner in loop.py, and the functions of engine/authoring).

    def perform(self, call: Call[Any]) -> RequestFuture:
        """Request an activity or a child workflow."""
        self.refuse_if_closing()
        sequence = self.next_sequence()
        request, kind = request_of(call, sequence, self.workflow_id, self.seed)
        self._request_bytes += len(call.input)
        self.request(request, call.rewritten)
        future = self._pending[sequence] = self.loop.request_future(sequence, kind)
        if kind == CHILD:
            future.workflow_id = request.workflow_id  # to cancel the child
        elif request.bounds is not None and request.bounds.waits:
            future.ends_first = True
        return future

    def request_cancelled(self, sequence: int, kind: str) -> None:
        """The code no longer waits for an activity or a child."""
        future = self._pending.pop(sequence, None)
        if not (self.closing or future is None or sequence in self._over):
            self.request(withdrawal_of(sequence, kind, future.workflow_id))

    def stop_requested(self, sequence: int, kind: str) -> None:
        """The code gave up an activity or a child, and waits for its end."""
        future = self._pending.get(sequence)
        if not (self.closing or future is None or sequence in self._over):
            self.request(stop_of(sequence, kind, future.workflow_id))

    def timer_started(self, due_ms: int) -> int:
        """Request a timer; returns its sequence."""
        self.refuse_if_closing()
        sequence = self.next_sequence()
        self.request(TimerStarted(sequence=sequence, due_ms=due_ms))
        return sequence

    def timer_cancelled(self, sequence: int) -> None:
        """The code no longer waits for the timer."""
        if self.timers.pop(sequence, None) is not None and not self.closing and sequence not in self._over:
            self.request(TimerCancelled(sequence=sequence))

    def recorded_value(self, run: Callable[[], bytes]) -> bytes:
        """Value of a side effect: made by `run` the first time, from history on replay. Raises WorkflowFailedError."""
        self.refuse_within_side_effect("side_effect()")
        sequence = self.next_sequence()
        if self._matcher is not None:
            recorded = self._matcher.following
            value = recorded.value if type(recorded) is SideEffectRecorded else b"null"
        else:
            value = self._run_side_effect(run)
        self.request(SideEffectRecorded(sequence=sequence, value=value))
        if value.startswith(_RAISED):
            raise WorkflowFailedError(failure=msgspec.json.decode(value[len(_RAISED) :], type=Failure))
        return value

    def _run_side_effect(self, run: Callable[[], bytes]) -> bytes:
        self._in_side_effect = True
        try:
            with guards.allowed():
                return run()
        except BaseException as error:  # noqa: BLE001 - code may catch it, and must go the same way on replay
            return _RAISED + msgspec.json.encode(failure_of(error))
        finally:
            self._in_side_effect = False

    def patched(self, patch: str, *, deprecated: bool = False) -> bool:
        """Whether this run started, or came to this point for the first time, with code that knows `patch`.

        `deprecated`: the code has no other path, and records nothing that is not recorded."""
        known = self._patches.get(patch)
        if known is None:
            recorded = self._matcher.following if self._matcher is not None else None
            is_recorded = type(recorded) is PatchMarked and recorded.patch == patch
            if is_recorded or (self._matcher is None and not deprecated):
                self.request(PatchMarked(sequence=self.next_sequence(), patch=patch))
            known = self._patches[patch] = is_recorded or deprecated or self._matcher is None
        return known

    def is_main(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether it is the task of the workflow itself."""
        return task is not None and task is self._main

    def next_sequence(self) -> int:
        """Number of the next request."""
        self._sequence += 1
        return self._sequence

    def request(self, request: Event, rewrite: Rewrite | None = None) -> None:
        """Record a request; on replay compare it with the recorded one. `rewrite`: see Matcher.match."""
        matcher = self._matcher
        self.history_length += 1
        if matcher is None:
            self._requests.append(request)
            if len(self._requests) >= REQUESTS_MAX or self._request_bytes >= REQUEST_BYTES_MAX:
                self.loop.stops = True
        else:
            matcher.match(request, rewrite)
            if matcher.is_suspended:
                self.loop.stops = True

    # State that the code may ask for, and its mistakes.

    @property
    def random(self) -> random.Random:
        """The run's random numbers. Created at first use, since seeding is slow."""
        self._random = self._random or random.Random(self.seed)  # noqa: S311 - it must be repeatable
        return self._random

    @property
    def replaying(self) -> bool:
        """Whether the current activation repeats a decision of the past."""
        return self._matcher is not None

    def refuse_within_side_effect(self, what: str) -> None:
        """Raise NonDeterministicCall for a request by a side effect's function, or by a read: replay runs neither."""
        self._refuse_in_read(what)
        if self._in_side_effect:
            raise NonDeterministicCall(
                f"{what} was called by the function that side_effect() runs, which is not run again on replay: "
                "call it outside and hand the value in, or use the standard library's own there."
            )

    def refuse_if_closing(self) -> None:
        """Raise GeneratorExit while the run is evicted, whatever its `finally` blocks await."""
        if self.reading:
            self._refuse_in_read("what it awaits")
        if self.closing:
            raise GeneratorExit

    def _refuse_in_read(self, what: str) -> None:
        if self.reading:
            self.refused_in_read = (
                f"{self.reading} may only read, and {what} would change the run; do it in an update or in the "
                "workflow itself."
            )
            raise NonDeterministicCall(self.refused_in_read)

    def call_dropped(self, call: Lazy[Any]) -> None:
        """The code discarded a call or a wait without awaiting it: its run fails, naming the line."""
        if not self.closing and not self.reading and not self._dropped_call:
            self._dropped_call = (
                f"{call.name}(…) was called at {call.made_at} but never awaited; write `await {call.name}(…)`."
            )

    def leaves_undone(self, error: BaseException) -> bool:
        """Whether a saga that ends with `error` undoes nothing: for a bug, since the activation will be repeated.

        On replay the recorded marker decides: the saga of other code, or after an earlier bug, did undo."""
        bugs = bugs_in(error, self.definition.blocks_on)
        if self._matcher is None:
            leaves = bool(bugs) and not self.raised_earlier(bugs)
        else:
            recorded = self._matcher.following
            leaves = type(recorded) is PatchMarked and recorded.patch == UNDO_LEFT
            self._bug_undone = error if bugs and not leaves else self._bug_undone
        if leaves:
            self.request(PatchMarked(sequence=self.next_sequence(), patch=UNDO_LEFT))
        return leaves

    def raised_earlier(self, bugs: Iterable[BaseException]) -> int:  # noqa: ARG002 - observed.py looks at them
        """Number of the first event of the earlier decision that raised one of them; 0 if none did, or if unknown."""
        return 0

    def callback_failed(self, error: BaseException) -> None:
        """A callback of the loop raised."""
        if isinstance(error, ActivationOverran):
            self.loop.stops, self._overran = True, error
        if self._callback_error is None:
            self._callback_error = error

    # The end.

    def _stop_at(self, error: ActivationOverran) -> NoReturn:
        self._ended = True
        self.close()
        raise error

    def _end_if_done(self) -> None:
        main = self._main
        if self._ended:
            return
        if main is None:  # its start is delayed; its handlers may fail meanwhile
            if self._callback_error is not None:
                self._end(self._failed(self._callback_error))
        elif self._dropped_call and not (main.done() and (main.cancelled() or main.exception() is not None)):
            self._end(self._failed(CallNotAwaited(self._dropped_call)))
        elif main.done() and not self._waits_for_handlers(main):
            self._end(self._outcome(main))
        elif self._callback_error is not None:
            self._end(self._failed(self._callback_error))

    def _waits_for_handlers(self, main: asyncio.Task[Any]) -> bool:
        """Whether the run closes only when handlers that began have ended. A bug blocks it at once."""
        if not self.handlers.tasks or not self.definition.waits_for_handlers:
            return False
        return main.cancelled() or not (error := main.exception()) or not bugs_in(error, self.definition.blocks_on)

    # HandlerHost (handlers.py).

    @property
    def now_ms(self) -> int:
        """The time of the current decision (epoch)."""
        return self.loop.now_ms

    @property
    def blocks_on(self) -> tuple[type[Exception], ...]:
        """Errors that stand for a bug."""
        return self.definition.blocks_on

    def create_task(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """A task of the run."""
        return self.loop.create_task(coroutine, name=name)

    def _end(self, request: Event) -> None:
        self._ended = True
        self.request(request)
        self.loop.give_up_failed()
        self.close()

    def _log_unretrieved(self) -> None:
        if not self.replaying:
            log_unretrieved(self.loop.unretrieved, self.workflow_id, self.run_id)
        self.loop.unretrieved.clear()

    def _outcome(self, main: asyncio.Task[Any]) -> Event:
        if main.cancelled():
            if self._cancel_reason is not None:
                return WorkflowCancelled(reason=self._cancel_reason)
            return WorkflowFailed(
                failure=Failure(type="CancelledError", message="workflow code cancelled itself", kind="cancelled")
            )
        error = main.exception()
        if (next_run := continuation(error)) is not None:
            return continued_as(next_run.call)
        if error is not None:
            return self._failed(error)
        try:
            result = self.definition.signature.returns.encode(main.result())
        except Exception as unfit:  # noqa: BLE001 - the user's type may raise anything while it is encoded
            return self._failed(unfit)
        if len(result) > PAYLOAD_BYTES_MAX and self._matcher is None:
            self._refuse_result(result)
        return WorkflowCompleted(result=result)

    def _refuse_result(self, result: bytes) -> NoReturn:
        """Raise CodeError: the run is BLOCKED with its work kept, until mended code returns less."""
        self._ended = True
        self.close()
        raise oversized(result, self.definition.name)

    def _failed(self, error: BaseException) -> Event:
        """The run's failure. Raises CodeError for a bug, unless an earlier decision raised it or it failed the run."""
        bugs = bugs_in(error, self.definition.blocks_on)
        matcher = self._matcher
        if not bugs or (matcher is not None and (matcher.mismatch or type(matcher.following) is WorkflowFailed)):
            return WorkflowFailed(failure=run_failure(error))
        raised_at = self.raised_earlier(bugs) if matcher is None else 0
        if not raised_at:
            self._ended = True
            self.close()
            raise code_error(error)
        failure = run_failure(error)
        return WorkflowFailed(failure=msgspec.structs.replace(failure, message=going_back(failure.message, raised_at)))
