"""Saga: compensate completed steps in reverse order when a later step fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

from penstock.engine.authoring.context import ending_first, leaves_undone
from penstock.engine.execution.continuing import continuation
from penstock.schemas.errors import BadInput
from penstock.schemas.values.call import Call
from penstock.schemas.values.lazy import Lazy

T = TypeVar("T")


class Saga:
    """`async with Saga() as saga: await saga.do(book(…), undo=unbook(…))`.

    When the block ends with an exception or by cancellation, every outstanding `do` is cancelled and awaited; then the
    undos of all steps that were begun run, the latest step first. An activity with an undo that is cancelled while it
    runs is not tried again, and its `do` ends when the running attempt has ended, so that no undo overtakes what it
    undoes: give such an activity a timeout. A step that failed is undone too, since its outcome is not known: an undo
    must be idempotent. Undos are shielded from cancellation; one that fails does not stop the
    others, and its error is raised together with the one that ended the block (`ExceptionGroup`). Terminating a run
    undoes nothing. Neither does a bug, such as an AttributeError (`@workflow(blocks_on=…)`): the saga raises it again
    at once, so that the run becomes BLOCKED, and mended code goes on from before the bug.
    """

    def __init__(self) -> None:
        self._undos: list[tuple[Coroutine[Any, Any, object], Coroutine[Any, Any, object]]] = []
        self._doing: list[asyncio.Task[Any]] = []
        self._entered = False

    async def __aenter__(self) -> Saga:
        self._entered = True
        return self

    async def do(self, call: Coroutine[Any, Any, T], *, undo: Coroutine[Any, Any, object] | None = None) -> T:
        """Await `call` and return its result; `undo` runs if the saga fails after the call has begun.

        Cancelled, it first waits until the activities and children that `call` awaits have ended, if it has an undo.
        Raises BadInput for an argument that is no call, and for a saga that was not entered by `async with`.
        """
        self._check(call, undo)
        if isinstance(undo, Lazy):
            undo.claim()
        if undo is not None:
            self._undos.append((call, undo))
        context = None if undo is None else ending_first()
        task: asyncio.Task[T] = asyncio.get_running_loop().create_task(call, context=context)
        self._doing.append(task)
        try:
            return await task
        finally:
            if task.done():
                self._doing.remove(task)

    def _check(self, call: object, undo: object) -> None:
        if not self._entered:
            raise BadInput("this saga is not open: use it inside `async with Saga() as saga:`.")
        for given in (call, undo):
            if not isinstance(given, Coroutine) and (given is not None or given is call):
                raise BadInput(_not_a_call(given))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or continuation(error) is not None:  # the next run goes on from what was done
            self._discard_undos()
            return
        if isinstance(error, GeneratorExit):  # the run is evicted from memory, it has not failed
            return
        if leaves_undone(error):
            self._discard_undos()
            return
        await self._cancel_outstanding()
        failures = await _shielded(self._undo_all())
        if failures:
            raise ExceptionGroup(
                "the saga failed, and some of its undos failed", [_as_exception(error), *failures]
            ) from error

    def _discard_undos(self) -> None:
        for _, undo in self._undos:
            undo.close()
        self._undos.clear()

    async def _cancel_outstanding(self) -> None:
        """Cancel steps that are still running, so that none continues while it is being undone."""
        doing = [task for task in self._doing if not task.done()]
        for task in doing:
            task.cancel()
        if doing:
            await _shielded(_all_done(doing))

    async def _undo_all(self) -> list[Exception]:
        failures: list[Exception] = []
        while self._undos:
            call, undo = self._undos.pop()
            if isinstance(call, Call) and not call.begun:
                undo.close()  # cancelled before it was scheduled
                continue
            try:
                await undo
            except Exception as error:  # noqa: BLE001 - the other undos must run; the errors are raised together
                failures.append(error)
        return failures


def _not_a_call(given: object) -> str:
    name = getattr(given, "name", None) or getattr(given, "__name__", None)
    if callable(given) and name:
        return f"saga.do needs a call, but got the function {name}; write {name}(…)."
    return f"saga.do takes a call such as reserve(…), not {given!r}."


async def _all_done(tasks: list[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks)


async def _shielded(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end in spite of cancellation."""
    task = asyncio.get_running_loop().create_task(work)
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                return task.result()


def _as_exception(error: BaseException) -> Exception:
    """Convert a cancellation, since an ExceptionGroup holds only Exceptions."""
    return error if isinstance(error, Exception) else RuntimeError(f"the run was cancelled ({type(error).__name__})")
