"""Worker: consumes tasks from its queues, runs their activities, and publishes the results.

One thread per queue polls (intake/consumer.py), one reads cancellations (intake/cancellations.py), one runs the event
loop (execution/runner.py, executor.py), and sync activities run in a thread pool. A polling thread passes each batch of
tasks to the event loop in one call.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial

import structlog
from structlog.typing import FilteringBoundLogger

from penstock.schemas.errors import LogError, SettingsError, UnknownTopic
from penstock.schemas.values.tokens import token_keys
from penstock.topics.catalogue import Topics, creation_advice
from penstock.topics.log import Log, Publisher, TopicDescription
from penstock.workers.activity.checks import check_queue
from penstock.workers.activity.decorator import AnyActivity
from penstock.workers.execution.executor import Executor
from penstock.workers.execution.outbox import Outbox
from penstock.workers.execution.runner import Runner
from penstock.workers.execution.threads import Threads
from penstock.workers.execution.watch import LoopWatch
from penstock.workers.intake.cancellations import CancellationReader
from penstock.workers.intake.consumer import ConsumerSettings, QueueConsumer
from penstock.workers.intake.gate import Gate
from penstock.workers.intake.partition import HeldTask

THREADS_DEFAULT = min(32, (os.cpu_count() or 1) + 4)
PREFETCH_MIN = 1_000
FLUSH_TIMEOUT_S = 10.0
JOIN_TIMEOUT_S = 15.0
CANCEL_LEFTOVERS_S = 1.0


class Worker:
    """Runs the activities of its queues.

    `queues`: by default all that the definitions name. `concurrency`: how many attempts run at once. `threads`: how
    many of them may be sync. `drain_timeout_s`: how long `stop` waits for running attempts; the tasks of the others are
    delivered again. `token_key` signs the tokens of attempts, by default the namespace's. Use `run` (blocking), or
    `start` and `stop`, once.

    Raises SettingsError for invalid settings, BadName for a queue that cannot name a topic.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        definitions: Mapping[str, AnyActivity],
        *,
        queues: Sequence[str] | None = None,
        concurrency: int = 100,
        threads: int = THREADS_DEFAULT,
        name: str | None = None,
        drain_timeout_s: float = 30.0,
        token_key: bytes = b"",
    ) -> None:
        if concurrency < 1 or threads < 1:
            raise SettingsError(
                f"concurrency={concurrency} and threads={threads} are invalid: give at least 1 for each."
            )
        self._log, self._topics, self._definitions = log, topics, definitions
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self.queues = _queues(definitions, queues)
        self._concurrency, self._threads_max, self._drain_timeout_s = concurrency, threads, drain_timeout_s
        self._token_key = token_key or token_keys("", topics.prefix, topics.namespace)[0]
        self._stop_requested = threading.Event()
        self._stopping = threading.Lock()
        self._runtime: _Runtime | None = None
        self.failed: BaseException | None = None

    def run(self) -> None:
        """Work until `request_stop` or a failure, then drain. Raises the failure, and the errors of `start`."""
        self.start()
        try:
            self._stop_requested.wait()
        finally:
            self.stop()

    def start(self) -> None:
        """Start the threads. Raises UnknownTopic if a queue has no topic, LogUnavailable."""
        assert self._runtime is None, "a worker can be started only once"
        found = self._check_topics()
        logger: FilteringBoundLogger = structlog.get_logger().bind(worker=self.name)
        loop = asyncio.new_event_loop()
        publisher = self._log.publisher()
        outbox = Outbox(publisher, loop, logger)
        executor = Executor(
            self._definitions,
            Threads(self._threads_max, f"penstock-activity-{self.name}", self._fail),
            logger,
            worker=self.name,
            token_key=self._token_key,
        )
        runner = Runner(executor, outbox, self._topics.results, self._concurrency)
        settings = [self._consumer_settings(queue, found) for queue in self.queues]
        gate = Gate()
        cancellations = CancellationReader(
            self._log,
            self._topics.cancellations,
            logger,
            lambda cancelled: _in_loop(loop, partial(runner.cancel, cancelled)),
        )
        at_cancellations = found.get(self._topics.cancellations)
        cancellations.begin(at_cancellations.partitions if at_cancellations is not None else 0)
        self._runtime = _Runtime(
            loop=loop,
            runner=runner,
            executor=executor,
            publisher=publisher,
            consumers=[_consumer(self._log, one, outbox, logger, loop, runner, gate) for one in settings],
            cancellations=cancellations,
            logger=logger,
            fail=self._fail,
        )
        logger.info("worker started", queues=list(self.queues), activities=sorted(self._definitions))

    @property
    def running(self) -> int:
        """Number of attempts that run now; without sync ones that go on after their timeout. For any thread."""
        return self._runtime.running if self._runtime is not None else 0

    def request_stop(self) -> None:
        """Make `run` drain and return. Called from signal handlers and any thread."""
        self._stop_requested.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for `request_stop` or a failure. Returns False if neither came within `timeout_s`."""
        return self._stop_requested.wait(timeout_s)

    def stop(self) -> None:
        """Take no more tasks, wait up to `drain_timeout_s` for running attempts, publish, commit, leave the groups.

        Idempotent. Raises the error that made the worker fail, if it failed."""
        self._stop_requested.set()
        with self._stopping:
            if self._runtime is not None:
                self._runtime.drain(self._drain_timeout_s)
        if self.failed is not None:
            raise self.failed

    def _fail(self, error: BaseException) -> None:
        """Record the first error of a thread, or the reason why none is left, and request a stop."""
        self.failed = self.failed or error
        self._stop_requested.set()

    def _consumer_settings(self, queue: str, found: Mapping[str, TopicDescription]) -> ConsumerSettings:
        prefetch = max(PREFETCH_MIN, self._concurrency)
        return ConsumerSettings(
            queue=queue,
            group=f"{self._topics.prefix}.{self._topics.namespace}.workers.{queue}",
            tasks_topic=self._topics.tasks(queue),
            results_topic=self._topics.results,
            dead_letters_topic=self._topics.dead_letters,
            dead_letters_partitions=found[self._topics.dead_letters].partitions,
            held_max=self._concurrency + prefetch,
            held_low=self._concurrency + prefetch // 2,
            hosted=frozenset(self._definitions),
            shards=found[self._topics.results].partitions,
            tasks_partitions=found[self._topics.tasks(queue)].partitions,
        )

    def _check_topics(self) -> Mapping[str, TopicDescription]:
        """Return the topics that the worker needs. Raises UnknownTopic."""
        needed = [*map(self._topics.tasks, self.queues), self._topics.results, self._topics.dead_letters]
        found = self._log.describe([*needed, self._topics.cancellations])
        missing = [topic for topic in needed if topic not in found]
        if missing:
            raise UnknownTopic(f"There is no topic {' or '.join(missing)}: {creation_advice(missing[0])} first.")
        return found


class _Runtime:
    """Threads of a started worker, and the order in which they stop."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        runner: Runner,
        executor: Executor,
        publisher: Publisher,
        consumers: Sequence[QueueConsumer],
        cancellations: CancellationReader,
        logger: FilteringBoundLogger,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._loop, self._runner, self._executor = loop, runner, executor
        self._publisher, self._consumers, self._cancellations = publisher, consumers, cancellations
        self._logger, self._fail = logger, fail
        self._drained = False
        self._loop_thread = self._thread("loop", self._run_loop)
        self._reading = self._thread("cancellations", cancellations.run)
        self._polling = [self._thread(f"poll-{consumer.queue}", consumer.run) for consumer in consumers]

    @property
    def running(self) -> int:
        """Number of attempts that run now."""
        return self._executor.running

    def drain(self, timeout_s: float) -> None:
        """Stop the intake, activities, results, commits and membership, event loop, in that order. Idempotent."""
        if self._drained:
            return
        self._drained = True
        for consumer in self._consumers:
            consumer.drain()
        self._stop_activities(timeout_s)
        with contextlib.suppress(LogError):  # a task without an acknowledged result is not committed, so it runs again
            self._publisher.flush(FLUSH_TIMEOUT_S)
        for consumer in self._consumers:
            consumer.finish()
        self._cancellations.stop()
        for thread in (*self._polling, self._reading):
            thread.join(JOIN_TIMEOUT_S)
        self._publisher.close()
        _in_loop(self._loop, self._loop.stop)
        self._loop_thread.join(JOIN_TIMEOUT_S)
        self._executor.threads.close()
        self._logger.info("worker stopped")

    def _stop_activities(self, timeout_s: float) -> None:
        """Start no more attempts, wait for the running ones, and abandon those that take too long."""
        if not self._loop_thread.is_alive():
            return
        idle_future = Future[bool]()
        _in_loop(self._loop, self._runner.close)
        _in_loop(self._loop, partial(self._runner.when_idle, idle_future.set_result, timeout_s))
        try:
            idle = idle_future.result(timeout_s + JOIN_TIMEOUT_S)
        except TimeoutError:
            idle = False
        if not idle:
            self._logger.warning(
                "activities did not end in time, their tasks will be delivered again", running=self._executor.running
            )
            _in_loop(self._loop, self._executor.abandon)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        watch = LoopWatch(self._loop, threading.get_ident(), self._logger)
        watch.start()
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(_cancel_leftovers(self._loop))
        finally:
            watch.stop()
            self._loop.close()

    def _thread(self, name: str, body: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                body()
            except BaseException as error:  # the worker cannot go on without one of its threads
                self._logger.error("worker failed", thread=name, error=str(error), exc_info=error)
                self._fail(error)

        thread = threading.Thread(target=run, name=f"penstock-{name}", daemon=True)
        thread.start()
        return thread


def _consumer(
    log: Log,
    settings: ConsumerSettings,
    outbox: Outbox,
    logger: FilteringBoundLogger,
    loop: asyncio.AbstractEventLoop,
    runner: Runner,
    gate: Gate,
) -> QueueConsumer:
    """Make a consumer that passes its tasks to the runner, in the loop's thread."""

    def dispatch(queue: str, tasks: list[HeldTask], *, first: bool = False) -> None:
        _in_loop(loop, partial(runner.accept, queue, tasks, first=first))

    return QueueConsumer(
        log,
        settings,
        outbox,
        logger,
        gate=gate,
        dispatch=dispatch,
        on_released=lambda: _in_loop(loop, runner.drop_released),
    )


def _in_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed, since its thread failed and logged why
        loop.call_soon_threadsafe(call)


async def _cancel_leftovers(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the asyncio tasks that activities left behind, and wait for them within a bound."""
    leftovers = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()]
    for task in leftovers:
        task.cancel()
    if leftovers:
        await asyncio.wait(leftovers, timeout=CANCEL_LEFTOVERS_S)
    await loop.shutdown_asyncgens()


def _queues(definitions: Mapping[str, AnyActivity], queues: Sequence[str] | None) -> tuple[str, ...]:
    named = sorted({definition.queue for definition in definitions.values()} if queues is None else set(queues))
    if not named:
        raise SettingsError(
            "A worker needs at least one queue: import a module that declares an @activity, or set queues."
        )
    return tuple(check_queue(queue) for queue in named)
