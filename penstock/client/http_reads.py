"""Committed reads over HTTP from the processors that own the shards, found through the topic `registry`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
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

ATTEMPTS_MAX = 12
ATTEMPT_DELAY_S = 0.25  # with the attempts: long enough for a shard to change hands
REQUEST_TIMEOUT_S = 10.0
QUICK_ATTEMPTS = 2  # the first may meet the shard's former owner
QUICK_TIMEOUT_S = 2.0
MOVING = (httpx.codes.MISDIRECTED_REQUEST, httpx.codes.SERVICE_UNAVAILABLE)  # the shard changes hands
_REFUSED = httpx.codes.BAD_REQUEST
REGISTRY_TIMEOUT_S = 10.0

logger = structlog.get_logger(__name__)


class HttpReads:
    """Client of the processors' read servers. For one event loop.

    `quick`: give up soon, as the caller has another way to read; otherwise wait for a shard to change hands."""

    def __init__(self, log: Log, topics: Topics, shards: int) -> None:
        self._log, self._topics, self._shards = log, topics, shards
        self._addresses: dict[int, str] = {}
        self._opened: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._opened is not None:
            await self._opened.aclose()

    @property
    def _http(self) -> httpx.AsyncClient:
        """Made at the first request: it loads modules for a tenth of a second, which most clients do not need."""
        if self._opened is None:
            # trust_env: a proxy of the environment does not apply to loopback and cluster addresses.
            # verify: addresses are plain http; an empty TLS context saves 0.2 s of reading certificates.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._opened = httpx.AsyncClient(trust_env=False, verify=context)
        return self._opened

    async def describe(self, workflow_id: str, *, quick: bool = False) -> dict[str, Any]:
        """Return the state of the id's current run. Raises WorkflowNotFound, NotAnswered."""
        found: dict[str, Any] = await self._read_run(workflow_id, "", quick=quick)
        return found

    async def history(self, workflow_id: str, run_id: str = "", *, quick: bool = False) -> list[dict[str, Any]]:
        """Return the numbered events of a run, by default the current one. Raises WorkflowNotFound, NotAnswered."""
        parameters = {"run_id": run_id} if run_id else {}
        found = await self._read_run(workflow_id, "/history", parameters, quick=quick)
        events: list[dict[str, Any]] = found["events"]
        return events

    async def runs(self, filters: Mapping[str, str], *, quick: bool = False) -> list[dict[str, Any]]:
        """Return runs of all shards, sorted by id, at most `limit`. Raises BadInput, NotAnswered."""
        tried: dict[int, str] = {}
        for attempt in range(QUICK_ATTEMPTS if quick else ATTEMPTS_MAX):
            if attempt and not quick:
                await asyncio.sleep(ATTEMPT_DELAY_S)
            addresses = await self._owner_addresses(fresh=attempt > 0)
            if quick and attempt and addresses == tried:
                break
            tried = addresses
            if set(addresses) != set(range(self._shards)):
                continue
            answers = await asyncio.gather(
                *(
                    self._get(address, "/v1/workflows", filters, quick=quick)
                    for address in sorted(set(addresses.values()))
                )
            )
            found = _joined_runs(answers, self._shards)
            if found is not None:
                return found[: int(filters.get("limit", len(found)))]
        raise self._not_served(sorted(set(range(self._shards)) - set(self._addresses)))

    async def is_served(self, workflow_id: str, *, here: bool, attempts: int = ATTEMPTS_MAX) -> bool | None:
        """Return whether a processor owns the id's shard; None if the log cannot be read.

        `here`: all processors run on this machine, so that one which does not answer is gone. Otherwise reads may be
        out of reach, and an owner declared in `registry` counts.
        """
        try:
            await self._read_run(workflow_id, "", attempts=attempts)
        except NotAnswered:
            return not here and partition_of(workflow_id, self._shards) in self._addresses
        except LogUnavailable as error:
            logger.debug("cannot check whether a run is served", workflow_id=workflow_id, error=str(error))
            return None
        except PenstockError as error:  # an answer all the same, such as "no such run"
            logger.debug("run is served", workflow_id=workflow_id, error=str(error))
        return True

    async def _read_run(
        self,
        workflow_id: str,
        what: str,
        parameters: Mapping[str, str] | None = None,
        *,
        attempts: int = ATTEMPTS_MAX,
        quick: bool = False,
    ) -> Any:
        shard = partition_of(workflow_id, self._shards)
        tried: str | None = None
        for attempt in range(QUICK_ATTEMPTS if quick else attempts):
            if attempt and not quick:
                await asyncio.sleep(ATTEMPT_DELAY_S)
            address = (await self._owner_addresses(fresh=attempt > 0)).get(shard)
            if quick and attempt and address == tried:
                break
            tried = address
            path = f"/v1/workflows/{quoted(workflow_id)}{what}"
            answer = await self._get(address, path, parameters or {}, quick=quick)
            if answer is None or answer.status_code in MOVING:
                continue
            if answer.status_code == httpx.codes.OK:
                return answer.json()
            raise _error(answer)
        raise self._not_served([shard])

    async def _get(
        self, address: str | None, path: str, parameters: Mapping[str, str], *, quick: bool
    ) -> httpx.Response | None:
        if not address:
            return None
        timeout_s = QUICK_TIMEOUT_S if quick else REQUEST_TIMEOUT_S
        try:
            answer = await self._http.get(f"{address}{path}", params=dict(parameters), timeout=timeout_s)
        except httpx.TransportError as error:
            logger.debug("read server did not answer", address=address, error=repr(error))
            return None
        if answer.status_code == httpx.codes.OK and "json" not in answer.headers.get("content-type", ""):
            logger.debug("another server answered", address=address)
            return None
        return answer

    async def _owner_addresses(self, *, fresh: bool) -> dict[int, str]:
        if fresh or not self._addresses:
            self._addresses = await asyncio.to_thread(self._read_registry)
        return self._addresses

    def _read_registry(self) -> dict[int, str]:
        owned_by_shard = owners(self._log, self._topics, REGISTRY_TIMEOUT_S)
        return {shard: owned.address for shard, owned in owned_by_shard.items() if owned.address and not owned.released}

    def _not_served(self, shards: list[int]) -> NotAnswered:
        which = f"shard {shards[0]}" if len(shards) == 1 else f"{len(shards) or 'some'} shards"
        return NotAnswered(
            f"no processor serves reads of {which} of namespace {self._topics.namespace}: "
            "check that `penstock processor …` or `penstock dev …` runs."
        )


def quoted(workflow_id: str) -> str:
    """Encode the id as one segment of a path; dots too, since `.` and `..` are relative paths."""
    return quote(workflow_id, safe="").replace(".", "%2E")


def _joined_runs(answers: Sequence[httpx.Response | None], shards: int) -> list[dict[str, Any]] | None:
    """Merge the runs of all answers, sorted by id; None unless they cover every shard. Raises what one refused."""
    for answer in answers:
        if answer is not None and answer.status_code == _REFUSED:  # every processor would refuse it
            raise _error(answer)
    good = [answer for answer in answers if answer is not None and answer.status_code == httpx.codes.OK]
    covered = {shard for answer in good for shard in answer.json()["shards"]}
    if len(good) < len(answers) or covered != set(range(shards)):
        return None
    return sorted(
        (run for answer in good for run in answer.json()["runs"]), key=lambda run: str(run["workflow_id"]).encode()
    )


def _error(answer: httpx.Response) -> PenstockError:
    from_processor = True
    try:
        message = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):  # the answer of a proxy, for example
        from_processor = False
        message = f"{answer.url} answered {answer.status_code} {answer.reason_phrase}"
    if answer.status_code == httpx.codes.NOT_FOUND and from_processor:
        return WorkflowNotFound(message, reason="not_found")
    if answer.status_code == _REFUSED and from_processor:
        return BadInput(message)
    return LogError(message) if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR else NotAnswered(message)
