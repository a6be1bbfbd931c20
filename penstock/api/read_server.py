"""Read server: committed reads of one processor as JSON over HTTP, in a thread; on loopback by default."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import uvicorn

from penstock.api.routes import LOOPBACK, Stores, application
from penstock.engine.core.hosted import HandlersOf, Notes, no_notes

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0


class ReadServer:
    """HTTP server for the reads of one processor.

    The port is bound by the constructor, so that `address` is known before the processor declares it; connections are
    served after `start`. `notes`, `handlers`: what to add to a run's description.
    """

    def __init__(
        self,
        stores: Stores,
        shards: int,
        *,
        notes: Notes = no_notes,
        handlers: HandlersOf | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._socket = socket.create_server((host, port))
        # asyncio sets it for sockets that name their protocol, which this one does not; without it, the second packet
        # of each answer waits 40 ms for the acknowledgement of the first (measured).
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound = self._socket.getsockname()[1]
        self.address = f"http://{host}:{bound}"
        allowed = list(LOOPBACK) if host in LOOPBACK else ["*"]
        config = uvicorn.Config(
            application(stores, shards, notes=notes, handlers=handlers, allowed_hosts=allowed),
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
        """Start serving; returns once connections are accepted."""
        self._thread.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)

    def stop(self) -> None:
        """Finish open requests and stop, within STOP_TIMEOUT_S."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)
        with contextlib.suppress(OSError):
            self._socket.close()
