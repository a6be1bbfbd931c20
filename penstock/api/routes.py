"""Routes of the read server.

    GET /v1/workflows?status=&type=&limit=&after=     {"shards": [0, 2], "runs": [...]}, sorted by id
    GET /v1/workflows/{id}                            one run
    GET /v1/workflows/{id}/history?run_id=            {"events": [...]}
    GET /healthz                                      {"shards": [0, 2]}

An id is one percent-encoded segment. Status 404: no such run; 421: another processor owns the id's shard (see the topic
`registry`); 503: the shard is being released. Errors are {"error": word, "message": sentence}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.engine.core.hosted import HandlersOf, Notes, no_notes
from penstock.engine.runtime import reads
from penstock.engine.runtime.reads import LIMIT_MAX
from penstock.engine.store.store import StoreReader
from penstock.schemas.errors import StoreError
from penstock.topics.partitioner import partition_of

Stores = Callable[[], Mapping[int, StoreReader]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def application(
    stores: Stores,
    shards: int,
    *,
    notes: Notes = no_notes,
    handlers: HandlersOf | None = None,
    allowed_hosts: list[str],
) -> Starlette:
    """Make the ASGI application. `allowed_hosts` prevents DNS rebinding: a web page reaching a loopback server."""

    def list_runs(request: Request) -> Response:
        return _guarded(lambda: _list_runs(stores(), request))

    def read_run(request: Request) -> Response:
        return _guarded(lambda: _read_run(stores(), shards, notes, handlers, request))

    def health(_: Request) -> Response:
        return _json({"shards": sorted(stores())})

    return Starlette(
        routes=[
            Route("/v1/workflows", list_runs),
            _AnyTextRoute("/v1/workflows/{rest:path}", read_run),
            Route("/healthz", health),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts)],
    )


class _AnyTextRoute(Route):
    """A route whose last part may be any text: starlette's own pattern ends at a newline, which an id may contain."""

    def __init__(self, path: str, endpoint: Callable[[Request], Response]) -> None:
        super().__init__(path, endpoint)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)


def _list_runs(stores: Mapping[int, StoreReader], request: Request) -> Response:
    query = request.query_params
    try:
        limit = int(query.get("limit", "100"))
    except ValueError:
        limit = 0
    if not 1 <= limit <= LIMIT_MAX:
        return _problem(400, "bad_request", f"limit must be a number from 1 to {LIMIT_MAX}.")
    found: list[dict[str, Any]] = []
    for store in stores.values():
        found += reads.list_runs(
            store,
            status=query.get("status") or None,
            workflow_type=query.get("type") or None,
            limit=limit,
            after=query.get("after", ""),
        )
    found.sort(key=lambda run: str(run["workflow_id"]).encode())
    return _json({"shards": sorted(stores), "runs": found[:limit]})


def _read_run(
    stores: Mapping[int, StoreReader], shards: int, notes: Notes, handlers: HandlersOf | None, request: Request
) -> Response:
    # The raw path, since an id may contain slashes: decoded, `a%2Fhistory` would be the history of `a`.
    raw = bytes(request.scope["raw_path"]).decode("ascii").removeprefix("/v1/workflows/")
    segment, _, what = raw.partition("/")
    workflow_id = unquote(segment)
    if what not in ("", "history"):
        return _problem(404, "not_found", f"there is no route {request.url.path}; ids must be percent-encoded.")
    shard = partition_of(workflow_id, shards)
    store = stores.get(shard)
    if store is None:
        return _problem(421, "not_owned", f"shard {shard} of {workflow_id} is not owned by this processor.")
    run_id = request.query_params.get("run_id", "")
    found: dict[str, Any] | None
    if what == "history":
        events = reads.history(store, workflow_id, run_id)
        found = {"events": events} if events else None
    else:
        found = reads.describe(store, workflow_id)
        if found is not None:
            found["unhosted"] = notes(found)
            if handlers is not None:
                found["handlers"] = handlers(found)
    if found is None:
        missing = f"{workflow_id} has no run {run_id}" if run_id else f"There is no run with the id {workflow_id}"
        return _problem(404, "not_found", f"{missing}.")
    return _json(found)


def _guarded(respond: Callable[[], Response]) -> Response:
    try:
        return respond()
    except StoreError as error:  # closed during the request: the shard is being released
        return _problem(503, "unavailable", str(error))


def _problem(status: int, word: str, message: str) -> Response:
    return _json({"error": word, "message": message}, status)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
