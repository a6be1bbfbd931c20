"""What does a processor tell about its runs, and how? Committed reads as JSON over HTTP, on loopback unless told.

    GET /v1/workflows?status=&type=&limit=&after=     {"shards": [0, 2], "runs": [...]}, in the order of ids
    GET /v1/workflows/{id}                            one run
    GET /v1/workflows/{id}/history?run_id=            {"events": [...]}
    GET /healthz                                      {"shards": [0, 2]}

Ids are one percent-encoded segment. 404: no such run; 421: another processor owns that id's shard (see `registry`);
503: the shard is just leaving. Errors are {"error": word, "message": sentence}.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.engine.runtime import reads
from penstock.engine.runtime.reads import LIMIT_MAX
from penstock.engine.store.store import StoreReader
from penstock.schemas.errors import StoreError
from penstock.topics.partitioner import partition_of

Stores = Callable[[], Mapping[int, StoreReader]]

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ReadServer:
    """Serves the reads of one processor in a thread of its own.

    The port is bound when the server is made, so that `address` is known before the processor declares it; connections
    are served from `start` on.
    """

    def __init__(self, stores: Stores, shards: int, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._socket = socket.create_server((host, port))
        bound = self._socket.getsockname()[1]
        self.address = f"http://{host}:{bound}"
        allowed = list(LOOPBACK) if host in LOOPBACK else ["*"]
        config = uvicorn.Config(
            application(stores, shards, allowed_hosts=allowed),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="penstock-reads", daemon=True
        )

    def start(self) -> None:
        """Serve from now on; returns once it does."""
        self._thread.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)

    def stop(self) -> None:
        """Answer what was asked and stop, within a bound."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)
        with contextlib.suppress(OSError):
            self._socket.close()


def application(stores: Stores, shards: int, *, allowed_hosts: list[str]) -> Starlette:
    """The ASGI application. `allowed_hosts` keeps web pages from reaching a loopback server under a name of theirs."""

    def listing(request: Request) -> Response:
        return _guarded(lambda: _list(stores(), request))

    def one(request: Request) -> Response:
        return _guarded(lambda: _one(stores(), shards, request))

    def health(_: Request) -> Response:
        return _json({"shards": sorted(stores())})

    return Starlette(
        routes=[
            Route("/v1/workflows", listing),
            _AnyText("/v1/workflows/{rest:path}", one),
            Route("/healthz", health),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts)],
    )


class _AnyText(Route):
    """A route whose last part may be any text: starlette's own pattern ends at a newline, which an id may hold."""

    def __init__(self, path: str, endpoint: Callable[[Request], Response]) -> None:
        super().__init__(path, endpoint)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)


def _list(stores: Mapping[int, StoreReader], request: Request) -> Response:
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


def _one(stores: Mapping[int, StoreReader], shards: int, request: Request) -> Response:
    # The raw path, since an id may hold slashes: decoded, `a%2Fhistory` would read as the history of `a`.
    raw = bytes(request.scope["raw_path"]).decode("ascii").removeprefix("/v1/workflows/")
    segment, _, what = raw.partition("/")
    workflow_id = unquote(segment)
    if what not in ("", "history"):
        return _problem(404, "not_found", f"there is nothing at {request.url.path}; ids are percent-encoded.")
    shard = partition_of(workflow_id, shards)
    store = stores.get(shard)
    if store is None:
        return _problem(421, "not_owned", f"shard {shard}, where {workflow_id} lives, is not owned by this processor.")
    found: dict[str, Any] | None
    if what == "history":
        run_id = request.query_params.get("run_id", "")
        events = reads.history(store, workflow_id, run_id)
        found = {"events": events} if events else None
    else:
        found = reads.describe(store, workflow_id)
    if found is None:
        run_id = request.query_params.get("run_id", "")
        missing = f"{workflow_id} has no run {run_id}" if run_id else f"there is no run with the id {workflow_id}"
        return _problem(404, "not_found", f"{missing}.")
    return _json(found)


def _guarded(answer: Callable[[], Response]) -> Response:
    try:
        return answer()
    except StoreError as error:  # closed under the request: the shard moves
        return _problem(503, "unavailable", str(error))


def _problem(status: int, word: str, message: str) -> Response:
    return _json({"error": word, "message": message}, status)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
