"""Handlers of one run: functions of its code that answer signals, queries and updates.

Queries and validators read: they run between activations, and a request made in one is an error. Handlers of signals
and updates are tasks of the run's loop; those of one activation begin before the rest of the code goes on, first in,
first out.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, NamedTuple, Protocol

from penstock.engine.core.execution import UnknownHandler
from penstock.engine.core.limits import LISTENING_NAMES_MAX
from penstock.engine.execution.bugs import bugs_in
from penstock.schemas.errors import BadInput, NonDeterminism, NonDeterministicCall
from penstock.schemas.records.kinds import Event
from penstock.schemas.records.update import UpdateCompleted, UpdateFailed, UpdateHeld, UpdateTaken
from penstock.schemas.values.failure import failure_of
from penstock.schemas.values.payload import check_size


class Encoding(Protocol):
    """How a handler's arguments are read."""

    def decode(self, data: bytes) -> tuple[Any, ...]: ...


class Handler(NamedTuple):
    """A function that answers. `returns`: writes its result; None for a signal."""

    fn: Callable[..., Any]
    arguments: Encoding
    returns: Callable[[Any], bytes] | None = None
    validator: Callable[..., Any] | None = None


class HandlerHost(Protocol):
    """The program, as its handlers need it."""

    reading: str
    refused_in_read: str

    @property
    def now_ms(self) -> int: ...
    @property
    def blocks_on(self) -> tuple[type[Exception], ...]: ...
    def create_task(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]: ...
    def request(self, request: Event) -> None: ...
    def callback_failed(self, error: BaseException) -> None: ...


class HandlerLoop(Protocol):
    """The run's loop; a closed run has it back for the time of a read alone."""

    @property
    def owner(self) -> Any:
        """The HandlerHost."""
        ...

    @property
    def waiting(self) -> int:
        """Number of callbacks that wait to run."""
        ...


class Handlers:
    """Handlers by kind and name, and the tasks in which they run.

    `is_complete`: no handler will be registered later, as in a class. `methods`: queries and updates that are methods
    of a class. `due`: names and coroutines of handlers that are to begin."""

    __slots__ = ("_held", "_loop", "due", "is_complete", "methods", "queries", "signals", "tasks", "updates")

    def __init__(self, loop: HandlerLoop) -> None:
        self._loop = loop
        self.signals: dict[str, Handler] = {}
        self.queries: dict[str, Handler] = {}
        self.updates: dict[str, Handler] = {}
        self.is_complete = False
        self.methods: frozenset[str] = frozenset()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.due: list[tuple[str, Coroutine[Any, Any, None]]] = []
        self._held: dict[str, deque[UpdateHeld]] = {}

    @property
    def has_tokens(self) -> bool:
        """Whether the code answers queries or updates other than by methods of a class."""
        answered = self.queries or self.updates
        return bool(answered) and not self.methods >= (self.queries.keys() | self.updates.keys())

    # Reads.

    def answer(self, name: str, value: bytes) -> bytes:
        """The answer (JSON) of a query. Raises UnknownHandler, BadInput, and what its handler raises."""
        handler = self.queries.get(name)
        if handler is None:
            raise UnknownHandler(_unknown("query", name, self.queries))
        found = self._read(f"the query {name}", handler.fn, handler.arguments.decode(value))
        assert handler.returns is not None, "a query has a result"
        data = handler.returns(found)
        check_size(data, what=f"the answer of the query {name}")
        return data

    def check_signal(self, name: str, value: bytes) -> None:
        """Raise BadInput if the signal has a handler that does not take the value."""
        handler = self.signals.get(name)
        if handler is not None:
            handler.arguments.decode(value)

    def check(self, name: str, value: bytes) -> bool:
        """Whether an update has a handler now; its validator ran then.

        Raises UnknownHandler, BadInput, and what the validator raises."""
        handler = self.updates.get(name)
        if handler is None:
            if self.is_complete:
                raise UnknownHandler(_unknown("update", name, self.updates))
            return False
        self._validate(name, handler, handler.arguments.decode(value))
        return True

    def _validate(self, name: str, handler: Handler, arguments: tuple[Any, ...]) -> None:
        if handler.validator is not None:
            self._read(f"the validator of {name}", handler.validator, arguments)

    def _read(self, what: str, fn: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Call a function that may only read. Raises NonDeterministicCall, and what the function raises."""
        with self._reads(what):
            found = fn(*arguments)
            if inspect.isawaitable(found):
                _discard(found)
                raise NonDeterministicCall(f"{what} is async; it has to read at once: make it a plain def.")
            return found

    @contextmanager
    def _reads(self, what: str) -> Iterator[None]:
        owner, waiting = self._loop.owner, self._loop.waiting
        owner.reading, owner.refused_in_read = what, ""
        try:
            yield
        finally:
            owner.reading = ""
        if owner.refused_in_read:  # by code that caught the error
            raise NonDeterministicCall(owner.refused_in_read)
        if self._loop.waiting != waiting:
            raise NonDeterministicCall(
                f"{what} may only read, and it lets code of the run go on that waits; do it in an update or in the "
                "workflow itself."
            )

    # Inputs of the run.

    def takes_signal(self, name: str, value: bytes) -> bool:
        """Let the signal's handler take a value; False if there is none."""
        handler = self.signals.get(name)
        if handler is None:
            return False
        self.due.append((f"signal {name}", self._receive(handler, value)))
        return True

    def begin_update(self, message_id: str, name: str, value: bytes) -> None:
        """Let the handler of an accepted update begin."""
        handler = self.updates.get(name)
        if handler is None:  # code changed since it was accepted; the replay's comparison says so
            return
        try:
            arguments = handler.arguments.decode(value)
        except Exception as error:
            raise NonDeterminism(f"the code cannot take the recorded input of the update {name}: {error}") from error
        self.due.append((f"update {name}", self._perform(message_id, name, handler, arguments)))

    def hold(self, held: UpdateHeld, *, takes: bool) -> None:
        """Keep an update until its handler is registered, or until the next run if this one `takes` no more.

        One that came from the run before may find its handler here already: those of a class are complete."""
        handler = self.updates.get(held.update)
        if not takes or (handler is None and not self.is_complete):
            self._held.setdefault(held.update, deque()).append(held)
        elif (begun := self._taken(held, handler)) is not None:
            self.due.append((f"update {held.update}", begun))

    def held_events(self) -> list[UpdateHeld]:
        """Updates that are kept, by name and then in their order."""
        return [held for waiting in self._held.values() for held in waiting]

    def begin_due(self) -> None:
        """Create the tasks of handlers that are due, in the order of their inputs."""
        due, self.due = self.due, []
        for name, coroutine in due:
            self._create_task(name, coroutine)

    def cancel(self, reason: str) -> None:
        """Cancel the handlers that run. `reason`: text of their CancelledError."""
        for task in sorted(self.tasks, key=hash):
            task.cancel(reason or None)

    # Registration by code.

    def register_query(self, name: str, handler: Handler) -> Callable[[], None]:
        """Answer a query from now on, until the function that is returned is called."""
        return _registered(self.queries, name, handler)

    def register_update(self, name: str, handler: Handler) -> Callable[[], None]:
        """Answer an update from now on, those that are held first, until the function that is returned is called."""
        end = _registered(self.updates, name, handler)
        for held in self._held.pop(name, ()):
            begun = self._taken(held, handler)
            if begun is not None:
                self._create_task(f"update {name}", begun)
        return end

    def _taken(self, held: UpdateHeld, handler: Handler | None) -> Coroutine[Any, Any, None] | None:
        """Take a held update, or reject it; returns what its handler does."""
        problem = self._problem_of(handler, held)
        self._loop.owner.request(UpdateTaken(message_id=held.message_id, problem=problem))
        if problem or handler is None:
            return None
        return self._perform(held.message_id, held.update, handler, handler.arguments.decode(held.input))

    def _problem_of(self, handler: Handler | None, held: UpdateHeld) -> str:
        if held.until_ms < self._loop.owner.now_ms:
            return "its caller had given up before the run had a handler for it"
        if handler is None:
            return _unknown("update", held.update, self.updates)
        try:
            self._validate(held.update, handler, handler.arguments.decode(held.input))
        except Exception as error:  # noqa: BLE001 - the user's validator may raise anything
            return str(error) or type(error).__name__
        return ""

    # Tasks.

    def _create_task(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.owner.create_task(coroutine, name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _receive(self, handler: Handler, value: bytes) -> None:
        try:
            found = handler.fn(*handler.arguments.decode(value))
            if inspect.isawaitable(found):
                await found
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the run's failure
            self._loop.owner.callback_failed(error)

    async def _perform(self, message_id: str, name: str, handler: Handler, arguments: tuple[Any, ...]) -> None:
        try:
            found = handler.fn(*arguments)
            if inspect.isawaitable(found):
                found = await found
            assert handler.returns is not None, "an update has a result"
            result = handler.returns(found)
            check_size(result, what=f"the result of the update {name}")
        except asyncio.CancelledError as error:
            self._loop.owner.request(UpdateFailed(message_id=message_id, failure=failure_of(error)))
            raise
        except Exception as error:  # noqa: BLE001 - the update's failure, unless it stands for a bug
            if bugs_in(error, self._loop.owner.blocks_on):
                self._loop.owner.callback_failed(error)
            else:
                self._loop.owner.request(UpdateFailed(message_id=message_id, failure=failure_of(error)))
        else:
            self._loop.owner.request(UpdateCompleted(message_id=message_id, result=result))


def _registered(known: dict[str, Handler], name: str, handler: Handler) -> Callable[[], None]:
    """Put a handler in the place of the one of its name, if there is one; returns what gives the place back."""
    before = known.get(name)
    known[name] = handler

    def end() -> None:
        if known.get(name) is not handler:
            return  # a later one has its place
        if before is None:
            del known[name]
        else:
            known[name] = before

    return end


def _discard(awaitable: Any) -> None:
    if inspect.iscoroutine(awaitable):
        awaitable.close()


def _unknown(kind: str, name: str, known: dict[str, Any]) -> str:
    nearest = get_close_matches(name, known, n=LISTENING_NAMES_MAX, cutoff=0.0) if len(name) < 200 else sorted(known)
    listed = ", ".join(nearest[:LISTENING_NAMES_MAX]) or "none"
    return f"The run has no {kind} called {name[:80]!r}; it has: {listed}."


class OneValue(NamedTuple):
    """Encoding of a handler with one argument, or, without a type, with none."""

    read: Callable[[bytes], Any] | None

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """The argument. Raises BadInput."""
        if self.read is not None:
            return (self.read(data),)
        if data not in {b"", b"null"}:
            raise BadInput("It takes no value.")
        return ()
