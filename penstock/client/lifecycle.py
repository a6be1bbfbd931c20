"""Base of the asynchronous context managers `Client` and `Engine`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from penstock.observe.logs import route_to_logging


class AsyncLifecycle(ABC):
    """Open on entering the block, close on leaving it and when opening fails."""

    async def __aenter__(self) -> Self:
        route_to_logging()
        try:
            await self._open()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    @abstractmethod
    async def _open(self) -> None:
        """Acquire all resources."""

    @abstractmethod
    async def _close(self) -> None:
        """Release what was acquired; called also after an `_open` that failed half-way."""
