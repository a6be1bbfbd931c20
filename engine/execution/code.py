"""Workflow code as a Program needs it: an async function with its signature."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from penstock.schemas.values.payload import Signature


class Code(Protocol):
    """A workflow type that is written as a coroutine function."""

    name: str
    version: int
    fn: Callable[..., Coroutine[Any, Any, Any]]
    signature: Signature
    blocks_on: tuple[type[Exception], ...]
