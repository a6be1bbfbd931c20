"""Parts of a process: a processor or a worker, each in a thread from start to orderly end."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from penstock.api.read_server import ReadServer
from penstock.config import Settings
from penstock.engine.authoring.definition import WorkflowDefinition
from penstock.engine.authoring.signal import declared_signals
from penstock.engine.core.hosted import Hosted
from penstock.engine.runtime.driver import DriverSettings, wall_clock_ms
from penstock.engine.runtime.processor import Processor
from penstock.engine.runtime.shard import ShardLimits
from penstock.hosting.membership import keep_informed, unhosted
from penstock.hosting.namespace import Namespace
from penstock.hosting.stop_signals import StopSignals
from penstock.schemas.errors import StopTimedOut, StoreError
from penstock.schemas.values.tokens import token_keys
from penstock.topics.members import Membership
from penstock.workers.activity.decorator import AnyActivity
from penstock.workers.worker import Worker

Workflows = Mapping[str, WorkflowDefinition[Any, Any]]
Activities = Mapping[str, AnyActivity]

STOP_TIMEOUT_S = 40.0  # a worker waits 30 s for running activities

logger = structlog.get_logger(__name__)


class Part:
    """A blocking function in a thread. `error`: what ended it before it was asked to stop."""

    def __init__(self, name: str, run: Callable[[], None], request_stop: Callable[[], None]) -> None:
        self.name, self.request_stop = name, request_stop
        self.error: BaseException | None = None
        self._run = run
        self.thread = threading.Thread(target=self._run_guarded, name=f"penstock-{name}", daemon=True)

    @property
    def ended(self) -> bool:
        """Whether the thread was started and has ended."""
        return self.thread.ident is not None and not self.thread.is_alive()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Request a drain and wait for the end, at most `timeout_s`. Sets `error` to StopTimedOut then."""
        self.request_stop()
        if self.thread.ident is not None:
            self.thread.join(timeout_s)
            if self.thread.is_alive():
                logger.warning("part did not stop in time", part=self.name, waited_s=timeout_s)
                self.error = self.error or StopTimedOut(
                    f"the {self.name} did not stop within {timeout_s:g} s; what it had not committed is done again "
                    "when it is started the next time"
                )

    def _run_guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:  # raised by stop_parts, which may be called much later
            self.error = error
            logger.error("part ended early", part=self.name, error=str(error), kind=type(error).__name__)


class ProcessorPart(Part):
    """A processor and its read server at `address`; `stores` returns the stores of its shards.

    Without a server, `address` is empty and reads are answered over the log alone. `hosted`: what it hosts."""

    def __init__(self, processor: Processor, server: ReadServer | None, hosted: Hosted) -> None:
        self.stores, self.address = processor.stores, server.address if server is not None else ""
        self.hosted = hosted
        self._processor, self._server = processor, server
        super().__init__("processor", self._serve, lambda: processor.stop(0))

    def _serve(self) -> None:
        if self._server is None:
            self._processor.run()
            return
        self._server.start()
        try:
            self._processor.run()
        finally:
            self._server.stop()


def processor_part(
    namespace: Namespace,
    settings: Settings,
    workflows: Workflows,
    *,
    clock_ms: Callable[[], int] = wall_clock_ms,
    driver: DriverSettings = DriverSettings(),
    strict_inputs: bool = False,
    serves_http: bool = True,
    membership: Membership | None = None,
) -> ProcessorPart:
    """Make a processor that serves committed reads, over HTTP too if `serves_http`. Raises StoreError.

    `strict_inputs`: a run whose code asks for another input on replay is BLOCKED. `membership`: of this process, None
    if no other can reach the log."""
    _make_directory(settings.state_path)
    limits = ShardLimits(
        closed_kept_ms=settings.closed_kept_ms,
        closed_kept_by_status=settings.closed_kept_by_status,
        run_cache_bytes=settings.run_cache_mb * 1_000_000,
        token_keys=token_keys(settings.token_key, settings.prefix, settings.namespace),
    )
    hosted = Hosted(workflows, declared_signals(), build=settings.build, strict_inputs=strict_inputs)
    hosted.history_long, hosted.history_max = settings.history_warning, settings.history_max
    if membership is not None:
        keep_informed(hosted, membership)
        hosted.notes = lambda run: unhosted(run, membership.neighbours, workflows)
    server = None
    if serves_http:
        server = ReadServer(
            lambda: processor.stores(),  # noqa: PLW0108 - the processor is made below
            namespace.shards,
            notes=hosted.notes,
            handlers=hosted.handlers_of,
        )
    processor = Processor(
        namespace.log,
        namespace.topics,
        namespace.shards,
        hosted,
        data=settings.state_path,
        address=server.address if server is not None else "",
        settings=msgspec.structs.replace(driver, limits=limits, activation_deadline_s=settings.activation_deadline),
        clock_ms=clock_ms,
    )
    return ProcessorPart(processor, server, hosted)


def _make_directory(path: Path | None) -> None:
    if path is None:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the state directory {path} cannot be created ({error.strerror}): "
            "choose another one with --data, or correct its permissions"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StoreError(
            f"the state directory {path} cannot be written: choose another one with --data, or correct its permissions"
        )


class WorkerPart(Part):
    """A worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        super().__init__("worker", worker.run, worker.request_stop)

    @property
    def is_working(self) -> bool:
        """Whether attempts run."""
        return self._worker.running > 0


def worker_part(
    namespace: Namespace,
    activities: Activities,
    settings: Settings,
    *,
    queues: Sequence[str] | None = None,
    concurrency: int = 100,
) -> WorkerPart:
    """Make a worker for these activities."""
    keys = token_keys(settings.token_key, settings.prefix, settings.namespace)
    worker = Worker(
        namespace.log, namespace.topics, activities, queues=queues, concurrency=concurrency, token_key=keys[0]
    )
    return WorkerPart(worker)


def start_parts(parts: Sequence[Part]) -> None:
    """Start the thread of each part."""
    for part in parts:
        part.thread.start()


def stop_parts(parts: Sequence[Part]) -> None:
    """Stop the parts in order, each drained before the next. Raises the error of one that ended early."""
    for part in parts:
        part.stop()
    for part in parts:
        if part.error is not None:
            raise part.error


def run_until_signalled(parts: Sequence[Part], *, also: Callable[[], bool] = lambda: False) -> None:
    """Run the parts until SIGINT, SIGTERM, `also()` or the end of one of them; then stop them in order.

    A second signal ends the process at once. Raises the error of a part that ended early.
    """
    _collect_less_often()
    signals = StopSignals()
    start_parts(parts)
    while not (signals.received or also() or any(part.ended for part in parts)):
        signals.wait()
    stop_parts(parts)


def _collect_less_often() -> None:
    """Raise the thresholds of the garbage collector: traversing cached runs took 10 % of the CPU time (measured)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
