"""Workflow types: the decorator, and what calling a workflow gives."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from penstock.engine.core.execution import Rebuilt
from penstock.engine.execution import guards
from penstock.engine.execution.bugs import CODE_ERRORS, Kinds
from penstock.engine.execution.program import Program
from penstock.engine.execution.replayer import rebuild
from penstock.schemas.errors import BadInput, BadName, NotInWorkflow, WorkflowError
from penstock.schemas.ids import check_workflow_id
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.values.call import Call
from penstock.schemas.values.durations import Duration, duration_ms
from penstock.schemas.values.functions import check_function, code_of
from penstock.schemas.values.payload import Signature
from penstock.schemas.values.requests import ChildRequest

P = ParamSpec("P")
R = TypeVar("R")

_definitions: dict[str, WorkflowDefinition[Any, Any]] = {}


class WorkflowCall(Call[R]):
    """A workflow that has not started: await it inside a workflow (a child), or hand it to `client.start`."""

    __slots__ = ("_signature",)

    request: ChildRequest

    def __init__(self, name: str, input: bytes, signature: Signature, *, depth: int = 3) -> None:
        super().__init__(name, ChildRequest(name), input, signature.returns, depth=depth)
        self._signature = signature

    def options(self, *, id: str | None = None) -> Self:
        """Return a copy of the call under a workflow id of your choice. Raises BadName."""
        return self._changed(self.request if id is None else ChildRequest(self.name, check_workflow_id(id)))

    def rewritten(self, input: bytes) -> bytes:
        return self._signature.rewritten(input)

    async def run_outside(self) -> R:
        raise NotInWorkflow(
            f"{self.name}(…) at {self.made_at} is a workflow and can only be awaited inside another one; "
            f"start it with `await client.start({self.name}(…), id=…)`, or in a test with penstock.testing."
        )


class WorkflowDefinition(Generic[P, R]):
    """A workflow type: its name, version and code. Calling it gives a WorkflowCall.

    `blocks_on`: errors that stand for a bug; a run that they would fail becomes BLOCKED."""

    def __init__(
        self,
        fn: Callable[P, Coroutine[Any, Any, R]],
        name: str,
        version: int,
        closed_kept_ms: int = 0,
        blocks_on: Kinds = CODE_ERRORS,
    ) -> None:
        self.fn, self.name, self.version, self.closed_kept_ms = fn, name, version, closed_kept_ms
        self.blocks_on = blocks_on
        self.module = fn.__module__
        self.signature = Signature.of(fn)
        functools.update_wrapper(self, fn)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> WorkflowCall[R]:
        return WorkflowCall(self.name, self.signature.bind(args, kwargs, self.name), self.signature)

    def __repr__(self) -> str:
        return f"<workflow {self.name} version {self.version} of {self.module}>"

    # Definition (engine/core/execution.py).

    def check_input(self, data: bytes) -> None:
        """Validate an input (JSON) against the signature, guarded as workflow code is. Raises BadInput."""
        with guards.guarded():
            self.signature.decode(data)

    def canonical_input(self, data: bytes) -> bytes:
        """An input (JSON) as the signature writes it, defaults included. Raises BadInput, PayloadTooLarge."""
        with guards.guarded():
            return self.signature.rewritten(data)

    def begin(self, workflow_id: str, run_id: str, seed: str) -> Program:
        """The execution of a new run."""
        return Program(self, workflow_id, run_id, seed)

    def rebuild(
        self,
        workflow_id: str,
        run_id: str,
        records: Iterable[DecisionRecorded],
        *,
        strict_inputs: bool,
        observed: bool = False,
    ) -> Rebuilt:
        """Repeat a run's history. Raises NonDeterminism, CodeError."""
        return rebuild(self, workflow_id, run_id, records, strict_inputs=strict_inputs, observed=observed)


@overload
def workflow(fn: Callable[P, Coroutine[Any, Any, R]], /) -> WorkflowDefinition[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    version: int = 1,
    closed_kept: Duration | None = None,
    blocks_on: Iterable[type[Exception]] = CODE_ERRORS,
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], WorkflowDefinition[P, R]]: ...
def workflow(
    fn: Any = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    closed_kept: Duration | None = None,
    blocks_on: Iterable[type[Exception]] = CODE_ERRORS,
) -> Any:
    """Make an async function a durable workflow. Its name is the function's by default.

    `closed_kept`: how long runs that start from now on are kept after they have closed: until then they can be read,
    and their ids, starts and messages are recognised. By default as long as the processors' setting `closed_kept` says.

    `blocks_on`: exceptions that stand for a bug. One that leaves the function in the activation that raised it does not
    fail the run: the run becomes BLOCKED, and goes on with mended code. By default NameError, AttributeError,
    TypeError, ImportError, RecursionError (`CODE_ERRORS`) and their subclasses; `()` lets all exceptions fail the run.

    Raises BadInput for what is no plain function (a partial, a method, a generator), and for `blocks_on`; BadName for a
    function that is not async, and for a name that another function has; BadDuration.
    """
    kinds = _kinds(blocks_on)
    if fn is None:
        return functools.partial(_define, name=name, version=version, closed_kept=closed_kept, blocks_on=kinds)
    return _define(fn, name=name, version=version, closed_kept=closed_kept, blocks_on=kinds)


def _kinds(blocks_on: Any) -> Kinds:
    if not isinstance(blocks_on, Iterable) or isinstance(blocks_on, str):
        raise BadInput(f"@workflow(blocks_on=…) takes a tuple of exception classes, not {blocks_on!r}.")
    kinds = tuple(blocks_on)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise BadInput(f"@workflow(blocks_on=…) takes exception classes such as KeyError, not {kind!r}.")
        if issubclass(kind, WorkflowError):
            name = kind.__name__
            raise BadInput(f"@workflow(blocks_on=…) takes no {name}: code handles it, or lets it fail the run.")
    return kinds


def _define(
    fn: Callable[..., Any], *, name: str | None, version: int, closed_kept: Duration | None, blocks_on: Kinds
) -> WorkflowDefinition[Any, Any]:
    check_function(fn, "workflow")
    if not inspect.iscoroutinefunction(fn):
        raise BadName(_not_async(fn))
    closed_kept_ms = 0 if closed_kept is None else max(1, duration_ms(closed_kept))
    definition: WorkflowDefinition[Any, Any] = WorkflowDefinition(
        fn, name or fn.__name__, version, closed_kept_ms, blocks_on
    )
    known = _definitions.get(definition.name)
    if known is not None and (known.fn.__qualname__, _file(known)) != (fn.__qualname__, _file(definition)):
        raise BadName(
            f"Two workflows are called {definition.name!r}: one in {known.module}, one in {definition.module}; "
            "give one of them another name with @workflow(name=…)."
        )
    _definitions[definition.name] = definition
    return definition


def _not_async(fn: Callable[..., Any]) -> str:
    if inspect.iscoroutinefunction(inspect.unwrap(fn)):
        return f"@workflow needs an async function, but a decorator of {fn.__name__} returns a sync one; make it async."
    return f"@workflow needs an async function; write `async def {fn.__name__}(…)`."


def _file(definition: WorkflowDefinition[Any, Any]) -> str:
    """File of the code: it may be imported both as a script and as a module of a package."""
    return code_of(definition.fn).co_filename


def registered_workflows() -> dict[str, WorkflowDefinition[Any, Any]]:
    """Every workflow defined in this process, by name."""
    return dict(_definitions)
