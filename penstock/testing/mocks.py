"""Stand-ins for activities and child workflows: their types are checked when they are made."""

from __future__ import annotations

import copy
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from penstock.engine.authoring.class_form import definition_of
from penstock.engine.authoring.definition import TypeOptions, WorkflowDefinition
from penstock.schemas.errors import BadInput
from penstock.workers.activity.decorator import ActivityDefinition

Mocked = ActivityDefinition[..., Any] | WorkflowDefinition[..., Any]


def mocked(target: object) -> Mocked:
    """The definition to be replaced. Raises BadInput."""
    if isinstance(target, ActivityDefinition | WorkflowDefinition):
        return target
    definition = definition_of(target) if isinstance(target, type) else None
    if definition is None:
        raise BadInput(f"engine.mock takes an activity or a workflow, not {target!r}: is a decorator missing?")
    return definition


def stand_in(target: Mocked, by: object) -> Mocked:
    """A definition that takes the place of `target`: it calls `by`, raises it, or returns it.

    Raises BadInput unless `by` takes the arguments of the target and returns, or is, what the target returns."""
    answer = _answer(target, by)
    if isinstance(target, ActivityDefinition):
        found = copy.copy(target)
        found.fn, found.is_async = answer, inspect.iscoroutinefunction(answer)
        return found
    options = TypeOptions(
        target.name,
        target.version,
        target.closed_kept_ms,
        blocks_on=(),
        closed_kept_by_status=target.closed_kept_by_status,
    )
    replacement: WorkflowDefinition[..., Any] = WorkflowDefinition(_nothing, options)
    replacement.fn, replacement.signature = _as_coroutine(answer), target.signature
    return replacement


async def _nothing() -> None:
    """Code of a definition that gets its own."""


def _answer(target: Mocked, by: object) -> Callable[..., Any]:
    if isinstance(by, ActivityDefinition | WorkflowDefinition):
        by = by.fn
    if isinstance(by, BaseException) or (isinstance(by, type) and issubclass(by, BaseException)):
        return _raising(by)
    if inspect.isfunction(by) or inspect.ismethod(by) or isinstance(by, types.BuiltinFunctionType) or _is_object(by):
        assert callable(by)
        _check_function(target, by)
        return _checked(target, by)
    _check_value(target, by, f"engine.mock({target.name}, …): {by!r} is not what {target.name} returns")
    return lambda *_, **__: by


def _is_object(by: object) -> bool:
    """Whether it is a callable object, such as one of unittest.mock, and no value that JSON knows."""
    return callable(by) and not isinstance(by, type)


def _raising(error: BaseException | type[BaseException]) -> Callable[..., Any]:
    def answer(*_: Any, **__: Any) -> Any:
        raise error

    return answer


def _checked(target: Mocked, by: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose results are checked as well: it may be annotated with nothing, or with Any."""
    what = f"the mock of {target.name} returned something else than {target.name} does"
    if inspect.iscoroutinefunction(by):

        async def answer_later(*args: Any, **kwargs: Any) -> Any:
            return _check_value(target, await by(*args, **kwargs), what)

        return answer_later

    def answer(*args: Any, **kwargs: Any) -> Any:
        return _check_value(target, by(*args, **kwargs), what)

    return answer


def _as_coroutine(answer: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(answer):
        return answer

    async def answer_later(*args: Any, **kwargs: Any) -> Any:
        return answer(*args, **kwargs)

    return answer_later


def _check_value(target: Mocked, value: Any, what: str) -> Any:
    """Return the value if it fits what the target returns. Raises BadInput."""
    returns = target.signature.returns
    if _returned(target) is type(None) and value is not None:
        raise BadInput(f"{what}: it returns None.")
    try:
        returns.decode(returns.encode(value), "the value")
    except BadInput as error:
        raise BadInput(f"{what}: {error}") from None
    return value


def _check_function(target: Mocked, by: Callable[..., Any]) -> None:
    """Raise BadInput unless the function takes the target's arguments, and its annotations fit."""
    theirs = target.signature.parameters
    try:
        signature = inspect.signature(by)
    except ValueError:  # a built-in without a signature
        return
    name = getattr(by, "__name__", repr(by))
    said = f"engine.mock({target.name}, {name}): {name}{signature}"
    try:
        signature.bind(*theirs)
    except TypeError as error:
        listed = ", ".join(parameter for parameter, _ in theirs)
        raise BadInput(f"{said} does not take the arguments of {target.name}({listed}): {error}.") from None
    hints = _hints(by)
    for ours, (parameter, wanted) in zip(_positional(signature), theirs, strict=False):
        given = hints.get(ours.name, Any)
        if not _fits(wanted, given):
            raise BadInput(
                f"{said} takes {_name(given)} as {ours.name}, where {target.name} gets {_name(wanted)} as {parameter}."
            )
    given, wanted = hints.get("return", Any), _returned(target)
    if not _fits(given, wanted):
        raise BadInput(f"{said} returns {_name(given)}, but {target.name} returns {_name(wanted)}.")


def _returned(target: Mocked) -> Any:
    """The type of what the target returns; Any if it does not say."""
    return type(None) if _hints(target.fn).get("return", Any) is type(None) else target.signature.returns.type


def _positional(signature: inspect.Signature) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter for parameter in signature.parameters.values() if parameter.kind in kinds]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - annotations that cannot be resolved say nothing
        return {}


def _fits(given: Any, wanted: Any) -> bool:
    """Whether a value of the type `given` can be one of `wanted`."""
    if given is Any or wanted is Any or wanted is object or given == wanted:
        return True
    if typing.get_origin(given) in _UNIONS:
        return all(_fits(one, wanted) for one in typing.get_args(given))
    if typing.get_origin(wanted) in _UNIONS:
        return any(_fits(given, one) for one in typing.get_args(wanted))
    if isinstance(given, type) and isinstance(wanted, type):
        return issubclass(given, wanted) or (given is int and wanted is float)
    return _bare(given) == _bare(wanted) and (given in _BARE or wanted in _BARE)


_UNIONS = (typing.Union, types.UnionType)
_BARE: tuple[Any, ...] = (list, dict, tuple, set, frozenset)


def _bare(kind: Any) -> Any:
    return typing.get_origin(kind) or kind


def _name(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) else str(kind)
