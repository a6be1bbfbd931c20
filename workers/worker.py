"""What does a worker do? It takes tasks from its queues, runs their activities and publishes what came of them.

One thread a queue polls (consumer.py), one runs the event loop in which everything runs (runner.py, executor.py), and
sync activities have threads of their own. A batch crosses from the first to the second in one call.
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
from penstock.topics.catalogue import Topics, creation_advice
from penstock.topics.log import Log, Publisher
from penstock.workers.activity.decorator import AnyActivity, check_queue
from penstock.workers.execution.executor import Executor
from penstock.workers.execution.outbox import Outbox
from penstock.workers.execution.runner import Runner
from penstock.workers.execution.threads import Threads
from penstock.workers.intake.consumer import QueueConsumer, Setup

THREADS_DEFAULT = min(32, (os.cpu_count() or 1) + 4)
PREFETCH_MIN = 1_000
FLUSH_TIMEOUT_S = 10.0
JOIN_TIMEOUT_S = 15.0
CANCEL_REST_S = 1.0


class Worker:
    """Runs the activities of some queues.

    `queues`: all that the definitions name, unless told. `concurrency`: how many attempts run at once, `threads`: how
    many of them may be sync. `drain_timeout_s`: how long `stop` lets running attempts go on; what is not done by then
    is delivered again. Use `run` (blocking), or `start` and `stop`, once.

    Raises SettingsError for settings without meaning, BadName for a queue that cannot name a topic.
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
    ) -> None:
        if concurrency < 1 or threads < 1:
            raise SettingsError("A worker needs at least concurrency=1 and threads=1 to run anything.")
        self._log, self._topics, self._definitions = log, topics, definitions
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self.queues = _queues(definitions, queues)
        self._concurrency, self._threads_max, self._drain_timeout_s = concurrency, threads, drain_timeout_s
        self._stop_wanted = threading.Event()
        self._stopping = threading.Lock()
        self._crew: _Crew | None = None
        self.failed: BaseException | None = None

    def run(self) -> None:
        """Work until `request_stop` or a failure, then drain. Raises what made it fail, and what `start` raises."""
        self.start()
        try:
            self._stop_wanted.wait()
        finally:
            self.stop()

    def start(self) -> None:
        """Begin working, in threads. Raises UnknownTopic when a queue has no topic, LogUnavailable."""
        assert self._crew is None, "a worker starts once"
        dead_letters_partitions = self._check_topics()
        logger: FilteringBoundLogger = structlog.get_logger().bind(worker=self.name)
        loop = asyncio.new_event_loop()
        publisher = self._log.publisher()
        outbox = Outbox(publisher, loop, logger)
        threads = Threads(self._threads_max, f"penstock-activity-{self.name}")
        executor = Executor(self._definitions, threads, logger, worker=self.name)
        runner = Runner(executor, outbox, self._topics.results, self._concurrency)
        consumers = [
            QueueConsumer(
                self._log,
                self._setup(queue, dead_letters_partitions),
                outbox,
                logger,
                hand_over=lambda queue, batch: _in_loop(loop, partial(runner.accept, queue, batch)),
                dropped=lambda: _in_loop(loop, runner.drop_released),
            )
            for queue in self.queues
        ]
        self._crew = _Crew(
            loop=loop,
            runner=runner,
            executor=executor,
            publisher=publisher,
            consumers=consumers,
            logger=logger,
            fail=self._fail,
        )
        logger.info("worker started", queues=list(self.queues), activities=sorted(self._definitions))

    def request_stop(self) -> None:
        """Make `run` drain and return; for signal handlers and other threads."""
        self._stop_wanted.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until somebody wants the worker to stop, or it failed; False when the time is up before that."""
        return self._stop_wanted.wait(timeout_s)

    def stop(self) -> None:
        """Drain: take nothing more, let what runs end within `drain_timeout_s`, publish, commit, leave the groups.

        Raises what made the worker fail, if anything did. May be called again."""
        self._stop_wanted.set()
        with self._stopping:
            if self._crew is not None:
                self._crew.drain(self._drain_timeout_s)
        if self.failed is not None:
            raise self.failed

    def _fail(self, error: BaseException) -> None:
        """A thread cannot go on: remember why, and stop."""
        self.failed = self.failed or error
        self._stop_wanted.set()

    def _setup(self, queue: str, dead_letters_partitions: int) -> Setup:
        prefetch = max(PREFETCH_MIN, self._concurrency)
        return Setup(
            queue=queue,
            group=f"{self._topics.prefix}.{self._topics.namespace}.workers.{queue}",
            tasks_topic=self._topics.tasks(queue),
            results_topic=self._topics.results,
            dead_letters_topic=self._topics.dead_letters,
            dead_letters_partitions=dead_letters_partitions,
            held_max=self._concurrency + prefetch,
            held_low=self._concurrency + prefetch // 2,
        )

    def _check_topics(self) -> int:
        """How many partitions the topic of dead letters has."""
        needed = [*map(self._topics.tasks, self.queues), self._topics.results, self._topics.dead_letters]
        facts = self._log.describe(needed)
        missing = [topic for topic in needed if topic not in facts]
        if missing:
            raise UnknownTopic(f"There is no topic {' or '.join(missing)}: {creation_advice(missing[0])} first.")
        return facts[self._topics.dead_letters].partitions


class _Crew:
    """The threads of a started worker, and the order in which they stop."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        runner: Runner,
        executor: Executor,
        publisher: Publisher,
        consumers: Sequence[QueueConsumer],
        logger: FilteringBoundLogger,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._loop, self._runner, self._executor = loop, runner, executor
        self._publisher, self._consumers = publisher, consumers
        self._logger, self._fail = logger, fail
        self._drained = False
        self._loop_thread = self._thread("loop", self._run_loop)
        self._polling = [self._thread(f"poll-{consumer.queue}", consumer.run) for consumer in consumers]

    def drain(self, timeout_s: float) -> None:
        """Stop intake, activities, results, offsets and membership, loop, in that order. Once."""
        if self._drained:
            return
        self._drained = True
        for consumer in self._consumers:
            consumer.drain()
        self._end_activities(timeout_s)
        with contextlib.suppress(LogError):  # what was not acknowledged is not committed: it runs again
            self._publisher.flush(FLUSH_TIMEOUT_S)
        for consumer in self._consumers:
            consumer.finish()
        for thread in self._polling:
            thread.join(JOIN_TIMEOUT_S)
        self._publisher.close()
        _in_loop(self._loop, self._loop.stop)
        self._loop_thread.join(JOIN_TIMEOUT_S)
        self._executor.threads.close()
        self._logger.info("worker stopped")

    def _end_activities(self, timeout_s: float) -> None:
        """Start nothing more, wait for what runs, give up what takes too long."""
        if not self._loop_thread.is_alive():
            return
        ended = Future[bool]()
        _in_loop(self._loop, self._runner.close)
        _in_loop(self._loop, partial(self._runner.when_idle, ended.set_result, timeout_s))
        try:
            idle = ended.result(timeout_s + JOIN_TIMEOUT_S)
        except TimeoutError:
            idle = False
        if not idle:
            self._logger.warning("activities did not end in time and will run again", running=self._executor.running)
            _in_loop(self._loop, self._executor.abandon)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(_cancel_rest(self._loop))
        finally:
            self._loop.close()

    def _thread(self, name: str, body: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                body()
            except BaseException as error:  # a thread that dies takes the worker along, visibly
                self._logger.error("worker failed", thread=name, error=str(error), exc_info=error)
                self._fail(error)

        thread = threading.Thread(target=run, name=f"penstock-{name}", daemon=True)
        thread.start()
        return thread


def _in_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: its thread failed, and said so
        loop.call_soon_threadsafe(call)


async def _cancel_rest(loop: asyncio.AbstractEventLoop) -> None:
    """Let what activities left behind on the loop see its cancellation, within a bound."""
    rest = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest, timeout=CANCEL_REST_S)
    await loop.shutdown_asyncgens()


def _queues(definitions: Mapping[str, AnyActivity], queues: Sequence[str] | None) -> tuple[str, ...]:
    named = sorted({definition.queue for definition in definitions.values()} if queues is None else set(queues))
    if not named:
        raise SettingsError("A worker needs a queue: import a module that declares an @activity, or name queues.")
    return tuple(check_queue(queue) for queue in named)
