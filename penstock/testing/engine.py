"""TestEngine: a whole stack in memory whose time moves by itself.

    async with TestEngine(orders) as engine:
        engine.mock(orders.charge, "paid")
        run = await engine.client.start(orders.fulfil(order), id="order-1")
        assert await run.result() == …

Nothing is written to disk. Workflow code that uses the real clock or random numbers is refused more strictly than in
production (`datetime.now()` too).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

import structlog

from penstock.config import load
from penstock.engine.core.keys import DAY_MS, DueKey
from penstock.engine.core.statuses import RUNNING
from penstock.engine.core.versions import WorkflowTypes
from penstock.engine.execution import guards
from penstock.engine.runtime.driver import DriverSettings
from penstock.hosting.engine import Activities, Engine, Hosted, Workflows, as_list
from penstock.hosting.parts import WorkerPart
from penstock.schemas.encoding.codec import prepare
from penstock.schemas.errors import BadInput, NotAnswered, PenstockError, UserError
from penstock.schemas.records.activity import ActivityCompleted, ActivityScheduled
from penstock.schemas.records.completions import WorkflowClosed
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.registry import NamespaceDeclared, ShardOwned
from penstock.schemas.records.replies import Accepted, RunClosed
from penstock.schemas.records.run import AwaitResult, StartWorkflow, WorkflowCompleted, WorkflowStarted
from penstock.schemas.records.signal import SignalReceived, SignalWorkflow
from penstock.schemas.records.tasks import ActivityTask, TaskCompleted
from penstock.schemas.records.timer import TimerFired, TimerStarted
from penstock.schemas.values.durations import Duration, duration_ms
from penstock.testing import calls
from penstock.testing.auto_skip import AutoSkip
from penstock.testing.blocked import BlockedRuns
from penstock.testing.calls import ActivityCalled, Published, SignalSent
from penstock.testing.clock import SkippingClock
from penstock.testing.histories import History, histories, in_text, replay
from penstock.testing.mocks import Mocked, mocked, stand_in
from penstock.testing.patience import Patience
from penstock.testing.pending import PendingWork, look
from penstock.workers.activity.decorator import ActivityDefinition

STANDSTILL_S = 30.0
PROGRESS_EVERY_S = 10.0
POLL_S = 0.002
DECIDED_POLL_S, DECIDED_S = 0.0005, 0.02
BLOCKED_POLL_S = 0.05
AWAITED_MS = 36_500 * DAY_MS

logger = structlog.get_logger(__name__)

# What nearly every run writes, made at import: the first test of a process would take the time otherwise.
prepare(
    (
        NamespaceDeclared,
        ShardOwned,
        StartWorkflow,
        AwaitResult,
        Accepted,
        RunClosed,
        DecisionRecorded,
        WorkflowStarted,
        WorkflowCompleted,
        WorkflowClosed,
        ActivityScheduled,
        ActivityTask,
        TaskCompleted,
        ActivityCompleted,
        TimerStarted,
        TimerFired,
        SignalWorkflow,
        SignalReceived,
    )
)


class TestEngine(Engine):
    """An Engine on a log in memory, for tests. `hosted` as for Engine: modules, workflows, activities, or one list.

    `auto_skip`: while the test waits for the engine (`Run.result`, an update's result, …), time moves by itself to the
    next timer, timeout or retry, whenever nothing else can happen: no activity runs, no input is undecided, and no
    command or reply is on its way. Otherwise, and without it, time passes as everywhere, and by `skip`.

    `replay`: at the end of the block every history is replayed with the code at hand, and NonDeterminism, which shows
    what differs, is raised for one that its code does not repeat. An error that leaves the block has the histories as a
    note."""

    __test__ = False  # pytest would collect a class of this name
    _driver = DriverSettings(idle_s=0.005, commit_poll_s=0.0005)  # its commits take less than a millisecond
    _applies_schedules = False  # time that moves by itself would never end
    _serves_http = False  # a server takes a tenth of a second to come up the first time, and to go
    _strict_inputs = True  # an input that replay makes differently blocks its run

    def __init__(
        self, *hosted: Hosted | Iterable[Hosted], concurrency: int = 100, auto_skip: bool = True, replay: bool = True
    ) -> None:
        self._clock = SkippingClock()
        all_hosted = [item for given in hosted for item in as_list(given)]
        # A run that closed years of skipped time ago can still be read.
        settings = load({"log": "embedded::memory:", "closed_kept": "365000d", "reads": "log"}, os.environ)
        super().__init__(all_hosted, concurrency=concurrency, settings=settings, clock_ms=self._clock)
        self._auto_skips = auto_skip
        self._auto: AutoSkip | None = None
        self._mocks: dict[str, Mocked] = {}
        self._workflows: Workflows = WorkflowTypes()
        self._activities: Activities = {}
        self._replays, self._interrupts = replay, False
        self._histories: list[History] = []
        self._moving: asyncio.Task[None] | None = None

    async def _open(self) -> None:
        guards.install(strict=True)
        await super()._open()
        if self._processor is not None:
            self._processor.hosted.awaited_ms = AWAITED_MS
            self._set_kept_status()
        self.client.raise_on(self._hindrance)
        log = self._log
        if self._auto_skips and log is not None:
            self._auto = AutoSkip(self._clock, self.client.exchange, self._decided_work, self._is_working, log.wake)
            self._moving = asyncio.create_task(self._auto.run())

    async def _close(self) -> None:
        moving, self._moving = self._moving, None
        if moving is not None:
            moving.cancel()
            with contextlib.suppress(asyncio.CancelledError, PenstockError):  # what ended it ended a part too
                await moving
        self._histories = self._read_histories()
        await super()._close()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if error is not None:
            error.add_note(f"Histories of the runs:\n{self.history_text()}")
        elif self._replays:
            replay(self._histories, self._workflows.of)

    def _definitions(self) -> tuple[Workflows, Activities]:
        self._workflows, self._activities = super()._definitions()
        for replacement in self._mocks.values():
            self._host(replacement)
        return self._workflows, self._activities

    def _host(self, replacement: Mocked) -> None:
        if isinstance(replacement, ActivityDefinition):
            self._activities[replacement.name] = replacement
        else:
            self._workflows.add(replacement)

    def mock(self, target: object, by: object) -> None:
        """Let `by` take the place of an activity or of a child workflow, in this engine alone.

        `by`: a function, which takes the arguments of the target; an exception, which is raised; any other value, which
        is returned. A mock that is made inside the block counts for what is called afterwards.

        Raises BadInput unless arguments and result are those of the target, or its annotations say otherwise; UserError
        inside the block, for a target that the engine does not host."""
        definition = mocked(target)
        replacement = stand_in(definition, by)
        self._mocks[definition.name] = replacement
        if self._processor is not None:
            hosted = self._activities if isinstance(replacement, ActivityDefinition) else self._workflows
            if definition.name not in hosted:
                raise UserError(
                    f"this engine does not host {definition.name}: name it in TestEngine(…), or mock it earlier."
                )
            self._host(replacement)

    def interrupt(self, when: str) -> None:
        """With "every event", evict each run after each of its decisions, so that it is restored from its history
        before the next one: code that depends on anything else becomes BLOCKED. With "never", stop that.

        Raises BadInput."""
        if when not in {"every event", "never"}:
            raise BadInput(f'engine.interrupt takes "every event" or "never", not {when!r}.')
        self._interrupts = when != "never"
        self._set_kept_status()

    def _set_kept_status(self) -> None:
        if self._processor is not None:
            self._processor.hosted.kept_status = "" if self._interrupts else RUNNING

    # What happened.

    @property
    def activities(self) -> list[ActivityCalled]:
        """The activities that runs called so far, run by run, in the order of their calls. Also after the block."""
        signatures = {name: definition.signature for name, definition in self._activities.items()}
        return calls.activities(self._read_histories(), signatures)

    @property
    def signals(self) -> list[SignalSent]:
        """The signals that runs received so far, run by run. Also after the block."""
        return calls.signals(self._read_histories())

    @property
    def published(self) -> list[Published]:
        """The records that runs published so far, run by run, in their order. Also after the block."""
        return calls.published(self._read_histories())

    def history_text(self) -> str:
        """The histories of all runs as text, a line for each event. Also after the block."""
        return in_text(self._read_histories())

    def assert_called(self, target: object, *args: Any, times: int | None = None, **kwargs: Any) -> None:
        """Raise AssertionError, which shows the histories, unless an activity was called, or a workflow was started.

        `args`, `kwargs`: with these arguments; without any, with whatever arguments. `times`: so many times, by default
        at least once."""
        definition = mocked(target)
        found = self._inputs(definition)
        wanted = definition.name
        if args or kwargs:
            expected = definition.signature.bind(args, kwargs, definition.name)
            found = [one for one in found if _written_again(definition, one) == expected]
            wanted += f" with {expected.decode()}"
        if len(found) != times if times is not None else not found:
            expectation = "at least once" if times is None else f"{times} times"
            raise AssertionError(f"{wanted} was called {len(found)} times, not {expectation}.\n{self.history_text()}")

    def assert_not_called(self, target: object) -> None:
        """Raise AssertionError, which shows the histories, if an activity was called, or a workflow was started."""
        self.assert_called(target, times=0)

    def _inputs(self, definition: Mocked) -> list[bytes]:
        found = self._read_histories()
        if isinstance(definition, ActivityDefinition):
            return calls.activity_inputs(found, definition.name)
        return calls.workflow_inputs(found, definition.name)

    def _read_histories(self) -> list[History]:
        return histories(self._processor.stores()) if self._parts and self._processor is not None else self._histories

    async def _hindrance(self, workflow_id: str, run_id: str) -> PenstockError:
        """Wait until the run, or a child that it awaits, is BLOCKED: nothing frees it while a test awaits its end."""
        while True:
            error = await asyncio.to_thread(self._blocked, workflow_id, run_id)
            if error is not None:
                return error
            if self._auto is not None and self._auto.is_exhausted:
                return UserError(
                    f"time moved by 100 years while {workflow_id} was awaited, and it did not close: let the test "
                    "end it, or use TestEngine(…, auto_skip=False) and `skip`."
                )
            await asyncio.sleep(BLOCKED_POLL_S)

    def _blocked(self, workflow_id: str, run_id: str) -> PenstockError | None:
        if self._processor is None or self._namespace is None or self._log is None:
            return None  # the engine is closing
        return BlockedRuns(self._log, self._namespace, self._processor.stores()).error(workflow_id, run_id)

    async def skip(self, duration: Duration) -> None:
        """Let durable time pass for all runs.

        Each timer, timeout and retry comes due at its own time, and its consequences are complete before the next one
        comes due. On return the clock is `duration` ahead and no workflow has anything left to do before more time
        passes. Activities take real time: each attempt is awaited for a second, longer while others end before it.

        Raises BadDuration; NotAnswered when workflows make no progress for 30 s of real time although they have work
        left; the error that ended the processor or the worker early.
        """
        with self._clock.standing(), self._auto_suspended():
            end_ms = self._clock() + duration_ms(duration)
            patience, log_at_s = Patience(), time.monotonic() + PROGRESS_EVERY_S
            while (due := await self._next_due(patience)) is not None and due.due_ms <= end_ms:
                if time.monotonic() > log_at_s:
                    log_at_s = time.monotonic() + PROGRESS_EVERY_S
                    _log_progress(due, end_ms)
                self._move_to(due.due_ms)
            self._move_to(end_ms)

    @contextlib.contextmanager
    def _auto_suspended(self) -> Iterator[None]:
        """Let time not move by itself within the block."""
        auto = self._auto
        if auto is None:
            yield
            return
        auto.suspended += 1
        try:
            yield
        finally:
            auto.suspended -= 1

    def _move_to(self, epoch_ms: int) -> None:
        self._clock.move_to(epoch_ms)
        if self._log is not None:
            self._log.wake()

    async def _next_due(self, patience: Patience) -> DueKey | None:
        """Wait until nothing can be decided before time passes; returns what comes due next."""
        inputs, progress_s = -1, time.monotonic()
        while True:
            pending = await asyncio.to_thread(self._decided_work)
            if pending.at_rest and patience.is_over(pending.attempts):
                return pending.due
            if pending.inputs != inputs or pending.attempts:
                inputs, progress_s = pending.inputs, time.monotonic()
            elif time.monotonic() > progress_s + STANDSTILL_S:
                raise NotAnswered(f"the workflows made no progress for {STANDSTILL_S:g} s although work is left to do.")
            await asyncio.sleep(POLL_S if pending.attempts else 0)

    def _decided_work(self) -> PendingWork:
        """The pending work of all shards, read again for a moment while there is something to decide."""
        until_s = time.monotonic() + DECIDED_S
        while True:
            pending = self._pending_work()
            if pending.at_rest or time.monotonic() > until_s:
                return pending
            time.sleep(DECIDED_POLL_S)

    def _pending_work(self) -> PendingWork:
        processor, namespace = self._processor, self._namespace
        if processor is None or namespace is None or self._log is None:
            raise UserError("this engine is not running: use it inside `async with TestEngine(…) as engine:`.")
        for part in self._parts:
            if part.error is not None:
                raise part.error
        return look(namespace, processor.stores(), self._clock())

    def _is_working(self) -> bool:
        """Whether activities run."""
        return any(part.is_working for part in self._parts if isinstance(part, WorkerPart))


def _written_again(definition: Mocked, data: bytes) -> bytes:
    """A recorded input as today's annotations write it."""
    try:
        return definition.signature.rewritten(data)
    except BadInput:  # of another version of the code
        return data


def _log_progress(due: DueKey, end_ms: int) -> None:
    logger.warning(
        "skipping time takes long, since many timers and retries come due",
        next=f"{'a timer' if due.kind == 't' else 'the next attempt of activity'} #{due.sequence}",
        workflow_id=due.workflow_id,
        left=f"{(end_ms - due.due_ms) / 3_600_000:.1f} h",
    )
