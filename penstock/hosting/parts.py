"""What runs in one of our processes? Parts (a processor, a worker), each in a thread, from start to orderly end.

`penstock dev`, `processor` and `worker` and the library's Engine are put together here.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from penstock.api.read_server import ReadServer
from penstock.config import Settings
from penstock.engine.authoring.signal import declared_signals
from penstock.engine.authoring.workflow import WorkflowDefinition
from penstock.engine.core.hosted import Hosted
from penstock.engine.runtime.driver import DriverSettings, wall_clock_ms
from penstock.engine.runtime.processor import Processor
from penstock.hosting import interrupts
from penstock.schemas.errors import StoreError, TopicMismatch, UnknownTopic
from penstock.topics import admin
from penstock.topics.catalogue import SHARDS_EMBEDDED, SHARDS_KAFKA, Topics, creation_advice, specs
from penstock.topics.log import Log
from penstock.workers.activity.decorator import AnyActivity
from penstock.workers.worker import Worker

Workflows = Mapping[str, WorkflowDefinition[Any, Any]]
Activities = Mapping[str, AnyActivity]

HASH_SEED = "PYTHONHASHSEED"
LOOK_EVERY_S = 0.2
STOP_TIMEOUT_S = 40.0  # a worker lets activities end for 30 s

_log = structlog.get_logger(__name__)


class Part:
    """Something that runs until told to stop. `error` is what ended it before."""

    def __init__(self, name: str, run: Callable[[], None], request_stop: Callable[[], None]) -> None:
        self.name, self.request_stop = name, request_stop
        self.error: BaseException | None = None
        self._run = run
        self.thread = threading.Thread(target=self._guarded, name=f"penstock-{name}", daemon=True)

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.thread.ident is not None and not self.thread.is_alive()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ask it to drain, and wait for its end within a bound."""
        self.request_stop()
        if self.thread.ident is not None:
            self.thread.join(timeout_s)
            if self.thread.is_alive():
                _log.warning("gave up waiting for an orderly end", part=self.name, waited_s=timeout_s)

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:  # told by whoever waits for this part
            self.error = error


class ProcessorPart(Part):
    """A processor and its reads, served at `address`; `stores` gives the committed rows themselves."""

    def __init__(self, processor: Processor, server: ReadServer) -> None:
        self.stores, self.address = processor.stores, server.address
        self._processor, self._server = processor, server
        super().__init__("processor", self._serve, lambda: processor.stop(0))

    def _serve(self) -> None:
        self._server.start()
        try:
            self._processor.run()
        finally:
            self._server.stop()


class Reach(NamedTuple):
    """A namespace as this process reaches it."""

    log: Log
    topics: Topics
    shards: int


def processor_part(
    reach: Reach,
    settings: Settings,
    workflows: Workflows,
    *,
    clock_ms: Callable[[], int] = wall_clock_ms,
    driver: DriverSettings = DriverSettings(),
    strict_inputs: bool = False,
) -> ProcessorPart:
    """A processor with its committed reads over HTTP. Raises StoreError."""
    _make_directory(settings.state_path)
    server = ReadServer(lambda: processor.stores(), reach.shards)  # noqa: PLW0108 - the processor is made below
    processor = Processor(
        reach.log,
        reach.topics,
        reach.shards,
        Hosted(workflows, declared_signals(), strict_inputs=strict_inputs),
        data=settings.state_path,
        address=server.address,
        settings=driver,
        clock_ms=clock_ms,
    )
    return ProcessorPart(processor, server)


def _make_directory(path: Path | None) -> None:
    if path is None:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the directory of the state {path} cannot be made ({error.strerror}): "
            "choose another with --data, or mend its permissions"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StoreError(
            f"the directory of the state {path} cannot be written: choose another with --data, or mend its permissions"
        )


def worker_part(
    reach: Reach, activities: Activities, *, queues: Sequence[str] | None = None, concurrency: int = 100
) -> Part:
    """A worker over these activities."""
    worker = Worker(reach.log, reach.topics, activities, queues=queues, concurrency=concurrency)
    return Part("worker", worker.run, worker.request_stop)


def start_parts(parts: Sequence[Part]) -> None:
    """Start each in its thread."""
    for part in parts:
        part.thread.start()


def stop_parts(parts: Sequence[Part]) -> None:
    """Stop in order, each drained before the next is asked. Raises what ended one of them early."""
    for part in parts:
        part.stop()
    for part in parts:
        if part.error is not None:
            raise part.error


def run_until_signalled(parts: Sequence[Part], *, also: Callable[[], bool] = lambda: False) -> None:
    """Run the parts until SIGINT, SIGTERM, `also()`, or until one of them ends; then stop them in order.

    A second signal ends the process at once. Raises what ended a part early.
    """
    _collect_seldom()
    stopper = Stopper()
    start_parts(parts)
    while not (stopper.wanted or also() or any(part.ended for part in parts)):
        stopper.wait(LOOK_EVERY_S)
    stop_parts(parts)


def _collect_seldom() -> None:
    """Cached runs live long, and walking over all of them for cycles took a tenth of a processor's time (measured)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


class Stopper:
    """Notes SIGINT and SIGTERM. For the main thread."""

    def __init__(self) -> None:
        self.wanted = False
        self._pause = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def wait(self, timeout_s: float) -> None:
        """Sleep; a signal shows in `wanted` afterwards."""
        self._pause.wait(timeout_s)

    def _note(self, number: int, _: object) -> None:
        if self.wanted:
            os._exit(128 + number)
        # Only a flag: the handler runs in the middle of whatever the main thread does, locks held.
        self.wanted = True


def make_topics(log: Log, topics: Topics, settings: Settings, queues: Iterable[str]) -> int:
    """Make the namespace's topics as they must be; returns its number of shards. Raises TopicMismatch, LogError."""
    shards = shards_of(log, topics, settings)
    admin.apply(log, admin.plan(log, specs(topics, shards, queues, replication_of(settings))))
    admin.declare_namespace(log, topics, shards)
    return shards


def check_topics(log: Log, topics: Topics, settings: Settings, queues: Iterable[str]) -> int:
    """The namespace's number of shards, once its topics are known to be as they must be.

    Raises UnknownTopic (there are none), TopicMismatch (what is wrong, and what helps), LogError.
    """
    shards = admin.declared_shards(log, topics)
    if shards is None:
        raise UnknownTopic(f"namespace {topics.namespace} has no topics yet: {creation_advice()} first.")
    if settings.shards and settings.shards != shards:
        raise TopicMismatch(
            f"namespace {topics.namespace} was made with {shards} shards and the setting shards says "
            f"{settings.shards}: leave the setting out, or use another namespace."
        )
    problems = admin.verify(log, specs(topics, shards, queues, replication_of(settings)))
    if problems:
        raise TopicMismatch("; ".join(problems))
    return shards


def shards_of(log: Log, topics: Topics, settings: Settings) -> int:
    """How many shards the namespace has, or is to have."""
    default = SHARDS_EMBEDDED if settings.embedded else SHARDS_KAFKA
    return settings.shards or admin.declared_shards(log, topics) or default


def replication_of(settings: Settings) -> int:
    """Copies of each partition, as the catalogue wants it said."""
    return settings.replication or -1


def queues_of(activities: Activities) -> list[str]:
    """The task queues that these activities name."""
    return sorted({definition.queue for definition in activities.values()})


def with_fixed_hash_seed() -> None:
    """Start this very command again with PYTHONHASHSEED=0 unless it has it: sets then iterate alike everywhere.

    Workflow code that walks over a set must take the same path on replay, perhaps on another machine.
    """
    if os.environ.get(HASH_SEED) == "0":
        return
    environment = {**os.environ, HASH_SEED: "0"}
    sys.stdout.flush()
    sys.stderr.flush()
    interrupts.hold_back()  # until the new process can end quietly
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - ourselves
    finally:  # it could not be started
        interrupts.let_in()
