"""Handles on updates, and what queries and updates are: methods of a class, tokens, or names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from penstock.client.outcome import answer_of
from penstock.engine.authoring.handlers import Query, QueryMethod, Update, UpdateMethod
from penstock.schemas.errors import BadInput
from penstock.schemas.records.replies import QueryAnswered, UpdateClosed
from penstock.schemas.values.durations import Duration
from penstock.schemas.values.payload import adapter_for

R = TypeVar("R")

_ANY = adapter_for(Any)


class UpdateHandle(Generic[R]):
    """An update that was accepted. `id`: by which a repetition is recognised."""

    def __init__(
        self, workflow_id: str, id: str, read: Callable[[bytes], R], ask: Callable[[Duration | None], Awaitable[Any]]
    ) -> None:
        self.workflow_id, self.id = workflow_id, id
        self._read, self._ask = read, ask

    async def result(self, timeout: Duration | None = None) -> R:
        """What the update's handler returned; waits until it has, by default without a time limit.

        Raises UpdateFailedError, UpdateRejected (one that was held for its handler), NotAnswered, BadInput."""
        reply = await self._ask(timeout)
        assert isinstance(reply, UpdateClosed), "an update is answered when it has completed"
        return self._read(answer_of(reply, f"the update {self.id} of {self.workflow_id}"))

    def __repr__(self) -> str:
        return f"<update {self.id} of {self.workflow_id}>"


def named(what: object, kind: str) -> str:
    """The name of a query or update, however it was given. Raises BadInput."""
    kinds = (Query, QueryMethod) if kind == "query" else (Update, UpdateMethod)
    if isinstance(what, str):
        return what
    if isinstance(what, kinds):
        return what.name
    raise BadInput(f"{what!r} is no {kind}: give a name, a token such as {kind.title()}(…), or a method such as C.m.")


def encoded(what: Any, args: tuple[Any, ...]) -> bytes:
    """The arguments of a query or update as JSON; with a name, one value or none. Raises BadInput, PayloadTooLarge."""
    if isinstance(what, QueryMethod | UpdateMethod | Update):
        return what.encode(args, {})
    if len(args) > (0 if isinstance(what, Query) else 1):
        raise BadInput(f"{what!r} takes at most {0 if isinstance(what, Query) else 1} value, not {len(args)}.")
    return _ANY.encode(args[0]) if args else b"null"


def reader(what: Any) -> Callable[[bytes], Any]:
    """What reads the result of a query or update."""
    if isinstance(what, Query):
        return lambda data: what.returns.decode(data, f"The answer of the query {what.name}")
    return _ANY.decode if isinstance(what, str) else what.decode_result


def answered(reply: QueryAnswered, query: str) -> bytes:
    """The answer of a query. Raises QueryFailedError."""
    return answer_of(reply, f"the query {query} of {reply.workflow_id}")
