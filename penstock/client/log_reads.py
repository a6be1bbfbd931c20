"""Committed reads over the log: commands to the shards, and their answers from `replies`.

Each shard answers from the rows that its decisions so far have left, together with the commit of those, so an answer is
as fresh as a reply to a command sent at the same moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.client.exchange import Exchange
from penstock.client.outcome import refusal_of
from penstock.client.uuid7 import uuid7
from penstock.schemas.errors import BadInput, LogUnavailable, NotAnswered, PenstockError, WorkflowNotFound
from penstock.schemas.records.reading import DescribeWorkflow, ListWorkflows, ReadHistory
from penstock.schemas.records.replies import ReadAnswered, Rejected
from penstock.schemas.records.schedule import DescribeSchedule, ListSchedules
from penstock.schemas.records.share import ListVersionShares
from penstock.schemas.values.shares import share_text

READ_TIMEOUT_S = 10.0
"""How long a read waits for an answer: long enough for a shard to change hands."""

SERVED_TIMEOUT_S = 0.8
BEGINNINGS_MAX = 5
"""Times that a history is read from its first page, if its run continues as new before the last one."""


class LogReads:
    """Reads over the log. For one event loop."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def describe(self, workflow_id: str) -> dict[str, Any]:
        """Return the state of the id's current run. Raises WorkflowNotFound, NotAnswered, LogError."""
        return await self._ask(DescribeWorkflow(workflow_id=workflow_id))

    async def history(self, workflow_id: str, run_id: str = "") -> list[dict[str, Any]]:
        """Return the numbered events of a run, by default the current one.

        Raises WorkflowNotFound, NotAnswered, LogError."""
        for _ in range(BEGINNINGS_MAX):
            events = await self._history(workflow_id, run_id)
            if events is not None:
                return events
        raise NotAnswered(f"{workflow_id} continued as a new run each time before its history was read; try again.")

    async def runs(self, filters: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return runs of all shards, sorted by id, at most `limit`. Raises BadInput, NotAnswered, LogError."""
        limit = int(filters.get("limit", "100"))
        asked = ListWorkflows(
            status=filters.get("status", ""),
            workflow_type=filters.get("type", ""),
            after=filters.get("after", ""),
            limit=limit,
        )
        found = await asyncio.gather(*(self._runs_of(shard, asked) for shard in range(self._exchange.shards)))
        runs = [run for of_shard in found for run in of_shard]
        return sorted(runs, key=lambda run: str(run["workflow_id"]).encode())[:limit]

    async def schedule(self, command: DescribeSchedule) -> dict[str, Any]:
        """Return the state of a schedule. Raises CommandRejected, NotAnswered, LogError."""
        return await self._ask(command)

    async def schedules(self, command: ListSchedules) -> list[dict[str, Any]]:
        """Return schedules of all shards, sorted by name, at most `limit`. Raises BadInput, NotAnswered, LogError."""
        found = await asyncio.gather(*(self._schedules_of(shard, command) for shard in range(self._exchange.shards)))
        schedules = [schedule for of_shard in found for schedule in of_shard]
        return sorted(schedules, key=lambda schedule: str(schedule["name"]).encode())[: command.limit]

    async def version_shares(self, command: ListVersionShares) -> list[dict[str, Any]]:
        """Return the shares of versions, each with the shards that have it so. Raises NotAnswered, LogError."""
        found = await asyncio.gather(*(self._ask(command, shard=shard) for shard in range(self._exchange.shards)))
        return _merged_shares([page["shares"] for page in found])

    async def is_served(self, workflow_id: str) -> bool | None:
        """Return whether a processor answers for the id's shard at once; None if the log cannot be read."""
        try:
            await self._ask(DescribeWorkflow(workflow_id=workflow_id), timeout_s=SERVED_TIMEOUT_S, warns=False)
        except NotAnswered:
            return False
        except LogUnavailable:
            return None
        except PenstockError:  # an answer all the same, such as "no such run"
            return True
        return True

    async def _history(self, workflow_id: str, run_id: str) -> list[dict[str, Any]] | None:
        """The pages of a history; None if the run continued as new in between, and took its history along."""
        asked = ReadHistory(workflow_id=workflow_id, run_id=run_id)
        page = await self._ask(asked)
        events: list[dict[str, Any]] = page["events"]
        while page["more"]:
            # The run of the first page: the id's current run may be another one by now.
            asked = msgspec.structs.replace(asked, run_id=page["run_id"], after=events[-1]["number"])
            try:
                page = await self._ask(asked)
            except WorkflowNotFound:
                return None
            events += page["events"]
        return events

    async def _runs_of(self, shard: int, asked: ListWorkflows) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = []
        after = asked.after
        while True:
            left = asked.limit - len(runs)
            page = await self._ask(msgspec.structs.replace(asked, after=after, limit=left), shard=shard)
            runs += page["runs"]
            after = page["next"]
            if not after or len(runs) >= asked.limit:
                return runs

    async def _schedules_of(self, shard: int, asked: ListSchedules) -> list[dict[str, Any]]:
        schedules: list[dict[str, Any]] = []
        after = asked.after
        while True:
            left = asked.limit - len(schedules)
            page = await self._ask(msgspec.structs.replace(asked, after=after, limit=left), shard=shard)
            schedules += page["schedules"]
            after = page["next"]
            if not after or len(schedules) >= asked.limit:
                return schedules

    async def _ask(
        self,
        command: DescribeWorkflow | ReadHistory | ListWorkflows | DescribeSchedule | ListSchedules | ListVersionShares,
        *,
        shard: int | None = None,
        timeout_s: float | None = None,
        warns: bool = True,
    ) -> dict[str, Any]:
        timeout_s = READ_TIMEOUT_S if timeout_s is None else timeout_s
        sent = msgspec.structs.replace(
            command, message_id=uuid7(), reply_to=self._exchange.reply_to, timeout_ms=int(timeout_s * 1000)
        )
        reply = await self._exchange.ask(sent, timeout_s, at_once=warns, shard=shard)
        if isinstance(reply, Rejected):
            raise BadInput(reply.message) if reply.reason == "bad_input" else refusal_of(reply)
        assert isinstance(reply, ReadAnswered), f"{type(command).__name__} is answered with {type(reply).__name__}"
        found: dict[str, Any] = msgspec.json.decode(reply.data)
        return found


def _merged_shares(found: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The shares of all shards, each with the shards that have it so. `found`: those of each shard."""
    shards: dict[tuple[str, int, int], list[int]] = {}
    for shard, shares in enumerate(found):
        for one in shares:
            shards.setdefault((one["type"], one["version"], one["share"]), []).append(shard)
    return [
        {"type": name, "version": version, "share": share_text(share), "shards": numbers}
        for (name, version, share), numbers in sorted(shards.items())
    ]
