"""Versions of workflow types: which share of the new runs takes each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.client.connection import ANSWER_TIMEOUT_S, Connection
from penstock.client.deadline import deadline_after, seconds_or
from penstock.client.outcome import refusal_of
from penstock.client.reads import JsonList
from penstock.engine.authoring.class_form import definition_of
from penstock.engine.authoring.definition import WorkflowDefinition
from penstock.schemas.errors import BadName, NotAnswered
from penstock.schemas.ids import check_version
from penstock.schemas.records.replies import Accepted, Rejected, Reply
from penstock.schemas.records.share import UNSET, ListVersionShares, SetVersionShare
from penstock.schemas.values.durations import Duration
from penstock.schemas.values.shares import parse_share

WorkflowType = str | WorkflowDefinition[..., Any] | type[Any]
"""A workflow type: its name, its function or its class."""


class Versions:
    """The versions of a client's namespace: `client.versions`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def set(
        self,
        type: WorkflowType,
        version: int,
        share: str | float | None,
        *,
        by: str = "",
        reason: str = "",
        timeout: Duration | None = None,
    ) -> str:
        """Let this share of the new runs of a workflow type take the version, on all shards; return a note, or "".

        `share`: a percentage such as "10%" or a number from 0 to 1, of the runs that no higher version takes; None for
        the default, which is all. Which ids it takes follows from the ids, so that a larger share takes the same and
        more; the lowest version takes the others. Open runs keep their version, and a start that names one takes it.
        `by`, `reason`: who sets it and why, recorded on the topic `events`. `timeout`: how long to wait for all shards,
        30 s by default. The note says why the share has no effect yet.

        Raises BadInput, BadName before anything is sent; UnknownWorkflowType, CommandRejected, LogError; NotAnswered,
        which names the shards that did not answer: they take the share over later, or when this is repeated."""
        name = _name_of(type)
        command = SetVersionShare(
            workflow_type=name,
            version=check_version(version),
            share=UNSET if share is None else parse_share(share),
            by=by,
            reason=reason,
        )
        deadline = deadline_after(timeout)
        shards = range(self._connection.exchange.shards)
        found = await asyncio.gather(*(self._ask(shard, command, deadline) for shard in shards), return_exceptions=True)
        return _note_of(found, name, version)

    async def shares(self, type: WorkflowType = "") -> JsonList:
        """Return the shares that were set, of all types by default: `type`, `version`, `share` ("10%"), `shards`.

        `shards`: those that have it so; all of them unless some did not answer when it was set. Raises NotAnswered when
        a shard has no processor, LogError."""
        return await self._connection.reads.version_shares(
            ListVersionShares(workflow_type=_name_of(type, is_optional=True))
        )

    async def _ask(self, shard: int, command: SetVersionShare, deadline: float | None) -> Reply:
        addressed = msgspec.structs.replace(command, **self._connection.reply_address())
        return await self._connection.exchange.ask(addressed, seconds_or(deadline, ANSWER_TIMEOUT_S), shard=shard)


def _note_of(found: Sequence[Reply | BaseException], name: str, version: int) -> str:
    """The note of all shards' answers; raises what one of them is an error for."""
    silent = [shard for shard, answer in enumerate(found) if isinstance(answer, NotAnswered)]
    refusals = [answer for answer in found if isinstance(answer, Rejected)]
    for answer in found:
        if isinstance(answer, BaseException) and not isinstance(answer, NotAnswered):
            raise answer
    if refusals:
        raise refusal_of(refusals[0])
    if silent:
        first = found[silent[0]]
        assert isinstance(first, NotAnswered), "only shards that did not answer are counted"
        if len(silent) == len(found):
            raise first
        raise NotAnswered(
            f"{_shards(silent)} of {len(found)} did not answer, the others have the share of version {version} of "
            f"{name}: {first} `penstock versions list {name}` shows who has it."
        )
    notes = dict.fromkeys(answer.note for answer in found if isinstance(answer, Accepted) and answer.note)
    return "; ".join(notes)


def _shards(numbers: Sequence[int]) -> str:
    return f"shard {numbers[0]}" if len(numbers) == 1 else f"shards {', '.join(map(str, numbers))}"


def _name_of(given: object, *, is_optional: bool = False) -> str:
    """Name of a workflow type that is given by it, or by its function or class; it may be empty if `is_optional`."""
    if isinstance(given, str) and (given or is_optional):
        return given
    definition = definition_of(given) if isinstance(given, type) else given
    if not isinstance(definition, WorkflowDefinition):
        raise BadName(f"The workflow type must be its name, or a workflow, not {given!r}.")
    return definition.name
