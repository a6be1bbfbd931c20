"""Functions that user code declares: which can be activities or workflows, and how they receive their arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

from penstock.schemas.errors import BadInput


def check_function(fn: Any, what: str) -> None:
    """Raise BadInput unless `fn` is a plain function. `what`: `activity` or `workflow`, also the decorator's name."""
    if not inspect.isfunction(fn):
        kind = "an async function (async def)" if what == "workflow" else "a plain function (def or async def)"
        raise BadInput(f"@{what} needs {kind}, not {fn!r}; write a function that calls it.")
    name = f"{what.capitalize()} {fn.__qualname__}"
    for one in (fn, inspect.unwrap(fn)):
        if inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one):
            raise BadInput(f"{name} is a generator (it has a `yield`): return one value, such as a list.")
    first = next(iter(inspect.signature(fn).parameters), "")
    owner = fn.__qualname__.rpartition(".")[0]
    if first in {"self", "cls"} and owner and not owner.endswith("<locals>"):
        raise BadInput(f"{name} is a method: make it a module-level function or a static method.")


def code_of(fn: Callable[..., Any]) -> CodeType:
    """The code of a function, below decorators that use `functools.wraps`: it names the file and line of `def`."""
    code: CodeType = getattr(inspect.unwrap(fn), "__code__", None) or fn.__code__
    return code


def handed_by_name(fn: Callable[..., Any], parameters: Sequence[inspect.Parameter]) -> tuple[str, ...]:
    """Which of `parameters`, the last ones, `fn` receives by name: those that it does not take by position itself.

    A plain function receives all by position. A wrapper (`functools.wraps`) has the parameters of the wrapped function,
    but may take them by `**kwargs`, which it reads by name."""
    own = inspect.signature(fn, follow_wrapped=False).parameters.values()
    kinds = {parameter.kind for parameter in own}
    if kinds.isdisjoint({inspect.Parameter.VAR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}):
        return ()
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    count = sum(parameter.kind in positional for parameter in own)
    by_position = sum(parameter.kind is parameter.POSITIONAL_ONLY for parameter in parameters)
    return tuple(parameter.name for parameter in parameters[max(count, by_position) :])
