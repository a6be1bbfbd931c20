"""Workflow code as a Program needs it: an async function, or a class with handlers, and its signature."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from penstock.engine.execution.handlers import Handlers
from penstock.schemas.values.payload import Signature


class Code(Protocol):
    """A workflow type that is written as a coroutine function or as a class.

    `waits_for_handlers`: whether a run closes only when handlers that began have ended."""

    name: str
    version: int
    signature: Signature
    blocks_on: tuple[type[Exception], ...]
    waits_for_handlers: bool

    def begun(self, handlers: Handlers, arguments: tuple[Any, ...]) -> Callable[[], Coroutine[Any, Any, Any]]:
        """What gives the code of a new run, after it has registered the handlers that it begins with."""
        ...
