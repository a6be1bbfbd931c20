"""Workflows written as classes: the input goes to `__init__`, `run` is the workflow, decorated methods answer.

Outside of its own run an object of such a class is only the call that was written: its `__init__` has not run, and its
run will execute it before any handler. So it can be started, and handed over as a child.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from penstock.engine.authoring.definition import TypeOptions, WorkflowCall, WorkflowDefinition
from penstock.engine.authoring.handlers import HandlerMethod, SignalMethod
from penstock.engine.authoring.signal import declare
from penstock.engine.execution.handlers import Handlers
from penstock.schemas.errors import BadInput, BadName
from penstock.schemas.values.functions import code_of
from penstock.schemas.values.payload import Signature

R_co = TypeVar("R_co", covariant=True)

_CALL = "__penstock_call__"
_DEFINITION = "__penstock_definition__"
_RUN = "__penstock_run__"


class Startable(Protocol[R_co]):
    """An object of a workflow class."""

    def run(self) -> Coroutine[Any, Any, R_co]: ...


class ClassDefinition(WorkflowDefinition[Any, Any]):
    """A workflow type that is written as a class."""

    def __init__(self, cls: type[Any], options: TypeOptions) -> None:
        run = _run_of(cls)
        super().__init__(run, options._replace(name=options.name or cls.__name__))
        self.cls, self.module = cls, cls.__module__
        self._initialize = cls.__init__
        self.signature = _signature_of(cls, run)
        self.methods = _methods_of(cls)
        self._handlers: dict[str, list[str]] = {kind: [] for kind in _REGISTERS.values()}
        for method in self.methods:
            self._handlers[_REGISTERS[method.kind]].append(method.name)
        self._answered = frozenset((*self._handlers["queries"], *self._handlers["updates"]))

    @property
    def place(self) -> tuple[str, str]:
        """Qualified name of the class, and its file."""
        return self.cls.__qualname__, code_of(self.fn).co_filename

    def call_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> WorkflowCall[Any]:
        """The call that an object of the class stands for."""
        return WorkflowCall(self.name, self.signature.bind(args, kwargs, self.name), self.signature, depth=4)

    def begun(self, handlers: Handlers, arguments: tuple[Any, ...]) -> Callable[[], Coroutine[Any, Any, Any]]:
        """Create the run's object, register its methods, and return what calls its `run`."""
        handlers.is_complete = True
        instance = self.cls.__new__(self.cls)  # type: ignore[call-overload]  # not `type` itself
        try:
            self._initialize(instance, *arguments)
        except Exception as error:  # noqa: BLE001 - as if `run` had raised it
            return functools.partial(_raise, error)
        for method in self.methods:
            known: dict[str, Any] = getattr(handlers, _REGISTERS[method.kind])
            known[method.name] = method.handler(instance)
        handlers.methods = self._answered
        return functools.partial(self.fn, instance)

    @property
    def handlers(self) -> Mapping[str, Sequence[str]]:
        """Names of the methods that answer."""
        return self._handlers


_REGISTERS = {"signal": "signals", "query": "queries", "update": "updates"}


def define_class(cls: type[Any], options: TypeOptions) -> ClassDefinition:
    """Make a class a workflow type: from now on its objects are calls. Raises BadName, BadInput."""
    definition = ClassDefinition(cls, options)
    for method in definition.methods:
        if isinstance(method, SignalMethod):
            declare(method.name, method.signature)
    initialize = cls.__init__

    @functools.wraps(initialize)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - replaces the class's own
        if type(self) is cls:
            object.__setattr__(self, _CALL, definition.call_of(args, kwargs))  # also of a frozen dataclass
        else:  # a subclass of its own
            initialize(self, *args, **kwargs)

    cls.__init__ = __init__
    setattr(cls, _DEFINITION, definition)
    return definition


def definition_of(cls: type[Any]) -> ClassDefinition | None:
    """The workflow type that a class is; None for another class, such as a subclass that has no decorator."""
    found: ClassDefinition | None = vars(cls).get(_DEFINITION)
    return found


def claimed_call(startable: object, taker: str) -> WorkflowCall[Any]:
    """The call of a workflow, or that an object of a workflow class stands for, taken to be started.

    `taker`: the function that takes it, as errors name it. Raises BadInput for another object."""
    call = startable if isinstance(startable, WorkflowCall) else getattr(startable, _CALL, None)
    if not isinstance(call, WorkflowCall):
        raise BadInput(f"{taker} takes a workflow's call such as fulfil(order), not {startable!r}.")
    call.claim()
    return call


def mark_run(fn: Any) -> None:
    """Mark the method that is the workflow. Raises BadName."""
    if not inspect.iscoroutinefunction(fn) or fn.__name__ != "run":
        raise BadName("@workflow.run goes onto the method that is the workflow: `async def run(self) -> …`.")
    setattr(fn, _RUN, True)


def _run_of(cls: type[Any]) -> Any:
    run = getattr(cls, "run", None)
    if run is None or not hasattr(run, _RUN):
        raise BadName(f"The workflow class {cls.__name__} needs `@workflow.run` on `async def run(self) -> …`.")
    if len(inspect.signature(run).parameters) != 1:
        raise BadName(f"{cls.__name__}.run takes no arguments: the workflow's input goes to __init__.")
    if not hasattr(cls, "__dictoffset__") or cls.__dictoffset__ == 0:
        raise BadName(f"The workflow class {cls.__name__} has __slots__ and no __dict__; leave them out.")
    return run


def _signature_of(cls: type[Any], run: Any) -> Signature:
    if cls.__init__ is object.__init__:
        return Signature.of(run, skip_first=True)
    signature = Signature.of(cls.__init__, skip_first=True)
    returns = Signature.of(run, skip_first=True).returns
    vars(signature)["returns"] = returns
    return signature


def _methods_of(cls: type[Any]) -> list[HandlerMethod[Any, Any]]:
    found: dict[tuple[str, str], HandlerMethod[Any, Any]] = {}
    for attribute in dir(cls):
        method = inspect.getattr_static(cls, attribute)
        if not isinstance(method, HandlerMethod):
            continue
        key = (method.kind, method.name)
        if key in found:
            raise BadInput(f"{cls.__name__} has two handlers of the {method.kind} {method.name}.")
        found[key] = method
    return list(found.values())


async def _raise(error: Exception) -> None:
    raise error
