"""Who knows what a run is doing? The processor that owns its shard: found in `registry`, asked over HTTP."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
import structlog

from penstock.schemas.errors import (
    BadInput,
    LogError,
    LogUnavailable,
    NotAnswered,
    PenstockError,
    WorkflowNotFound,
)
from penstock.topics.catalogue import Topics
from penstock.topics.log import Log
from penstock.topics.partitioner import partition_of
from penstock.topics.registry import owners

Json = dict[str, Any]

ATTEMPTS_MAX = 12
ATTEMPT_DELAY_S = 0.25  # with the attempts: long enough for a shard to change hands
REQUEST_TIMEOUT_S = 10.0
MOVING = (httpx.codes.MISDIRECTED_REQUEST, httpx.codes.SERVICE_UNAVAILABLE)  # the shard changes hands
_REFUSED = httpx.codes.BAD_REQUEST
REGISTRY_TIMEOUT_S = 10.0

_log = structlog.get_logger(__name__)


class Reads:
    """Asks processors for committed reads. For one event loop."""

    def __init__(self, log: Log, topics: Topics, shards: int) -> None:
        self._log, self._topics, self._shards = log, topics, shards
        self._addresses: dict[int, str] = {}
        # Loopback and cluster addresses: a proxy of the environment is never meant for them.
        # Addresses are http: an empty TLS context trusts nobody, and saves 0.2 s of reading certificates.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http = httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S, trust_env=False, verify=context)

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()

    async def describe(self, workflow_id: str) -> Json:
        """The state of the id's current run. Raises WorkflowNotFound, NotAnswered."""
        found: Json = await self._of_one(workflow_id, "")
        return found

    async def history(self, workflow_id: str, run_id: str = "") -> list[Json]:
        """The numbered events of a run, the current one unless told. Raises WorkflowNotFound, NotAnswered."""
        found = await self._of_one(workflow_id, "/history", {"run_id": run_id} if run_id else {})
        events: list[Json] = found["events"]
        return events

    async def runs(self, filters: Mapping[str, str]) -> list[Json]:
        """Runs of every shard in the order of their ids, `limit` at most. Raises BadInput, NotAnswered."""
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(ATTEMPT_DELAY_S)
            addresses = await self._known(fresh=attempt > 0)
            if set(addresses) != set(range(self._shards)):
                continue
            answers = await asyncio.gather(
                *(self._get(address, "/v1/workflows", filters) for address in sorted(set(addresses.values())))
            )
            refused = [answer for answer in answers if answer is not None and answer.status_code == _REFUSED]
            if refused:  # as it would be again, by whichever processor
                raise _error(refused[0])
            good = [answer for answer in answers if answer is not None and answer.status_code == httpx.codes.OK]
            covered = {shard for answer in good for shard in answer.json()["shards"]}
            if len(good) == len(answers) and covered == set(range(self._shards)):
                found = [run for answer in good for run in answer.json()["runs"]]
                found.sort(key=lambda run: str(run["workflow_id"]).encode())
                return found[: int(filters.get("limit", len(found)))]
        raise self._nobody(sorted(set(range(self._shards)) - set(self._addresses)))

    async def is_served(self, workflow_id: str, *, here: bool, attempts: int = ATTEMPTS_MAX) -> bool | None:
        """Whether a processor has the id's shard; None if the log does not tell. `here`: they all run on this machine.
        Others are within no reach of reads, so that what they declared in `registry` is believed."""
        try:
            await self._of_one(workflow_id, "", attempts=attempts)
        except NotAnswered:
            return not here and partition_of(workflow_id, self._shards) in self._addresses
        except LogUnavailable as error:
            _log.debug("cannot look for who serves a run", workflow_id=workflow_id, error=str(error))
            return None
        except PenstockError as error:  # also an answer: there is no such run, for example
            _log.debug("looked for who serves a run", workflow_id=workflow_id, error=str(error))
        return True

    async def _of_one(
        self, workflow_id: str, what: str, parameters: Mapping[str, str] | None = None, *, attempts: int = ATTEMPTS_MAX
    ) -> Any:
        shard = partition_of(workflow_id, self._shards)
        for attempt in range(attempts):
            if attempt:
                await asyncio.sleep(ATTEMPT_DELAY_S)
            address = (await self._known(fresh=attempt > 0)).get(shard)
            answer = await self._get(address, f"/v1/workflows/{quoted(workflow_id)}{what}", parameters or {})
            if answer is None or answer.status_code in MOVING:
                continue
            if answer.status_code == httpx.codes.OK:
                return answer.json()
            raise _error(answer)
        raise self._nobody([shard])

    async def _get(self, address: str | None, path: str, parameters: Mapping[str, str]) -> httpx.Response | None:
        if not address:
            return None
        try:
            return await self._http.get(f"{address}{path}", params=dict(parameters))
        except httpx.TransportError as error:
            _log.debug("a processor did not answer", address=address, error=repr(error))
            return None

    async def _known(self, *, fresh: bool) -> dict[int, str]:
        if fresh or not self._addresses:
            self._addresses = await asyncio.to_thread(self._read_registry)
        return self._addresses

    def _read_registry(self) -> dict[int, str]:
        owned_by_shard = owners(self._log, self._topics, REGISTRY_TIMEOUT_S)
        return {shard: owned.address for shard, owned in owned_by_shard.items() if owned.address and not owned.released}

    def _nobody(self, shards: list[int]) -> NotAnswered:
        which = f"shard {shards[0]}" if len(shards) == 1 else f"{len(shards) or 'some'} shards"
        return NotAnswered(
            f"no processor serves reads of {which} of namespace {self._topics.namespace} at present: "
            "is `penstock processor …` or `penstock dev …` running?"
        )


def quoted(workflow_id: str) -> str:
    """The id as one segment of a path: dots too, since `.` and `..` would be taken as directions."""
    return quote(workflow_id, safe="").replace(".", "%2E")


def _error(answer: httpx.Response) -> PenstockError:
    told = True
    try:
        message = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):  # of a proxy, say, and not of a processor
        told = False
        message = f"{answer.url} answered {answer.status_code} {answer.reason_phrase}"
    if answer.status_code == httpx.codes.NOT_FOUND:
        return WorkflowNotFound(message, reason="not_found")
    if answer.status_code == _REFUSED and told:
        return BadInput(message)
    return LogError(message) if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR else NotAnswered(message)
