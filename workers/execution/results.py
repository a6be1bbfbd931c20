"""Result records of attempts, and the log lines that accompany them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from structlog.typing import FilteringBoundLogger

from penstock.schemas.class_names import class_name
from penstock.schemas.errors import (
    ActivityCancelledError,
    BadDuration,
    BadInput,
    FatalError,
    PayloadTooLarge,
    RetryableError,
)
from penstock.schemas.failure import Failure
from penstock.schemas.records.tasks import ActivityTask, Result, TaskFailed, TaskStarted
from penstock.schemas.values.durations import due_ms
from penstock.schemas.values.payload import check_size
from penstock.workers.activity.decorator import AnyActivity
from penstock.workers.execution.failures import failure_of, message_of


class Results:
    """Builds the result record of each attempt, and logs how it went. `worker` is the name in the records."""

    def __init__(self, worker: str, logger: FilteringBoundLogger, result_bytes_max: int) -> None:
        self._worker = worker
        self._logger = logger
        self._result_bytes_max = result_bytes_max
        # Checked once: two disabled debug calls per task took a sixth of a worker's time (measured).
        is_enabled = getattr(logger.bind(), "isEnabledFor", None)
        self._debug = is_enabled is None or bool(is_enabled(logging.DEBUG))

    def log_started(self, task: ActivityTask) -> None:
        """Log the start of an attempt at debug level."""
        if self._debug:
            self._log(self._logger.debug, "activity started", task)

    def completed(self, task: ActivityTask, definition: AnyActivity, value: Any) -> Result:
        """Encode the value that an activity returned; a value that cannot be encoded is a non-retryable failure."""
        try:
            result = definition.returns.encode(value)
            check_size(result, limit=self._result_bytes_max, what=f"Activity {task.activity} returned too much")
        except PayloadTooLarge as error:
            return self._failed(task, failure_of(error, attempt=task.attempt, non_retryable=True))
        except Exception as error:  # user types may raise anything while they are encoded
            bad = BadInput(
                f"Activity {task.activity} returned a {type(value).__qualname__} that does not fit what it declares: "
                f"{message_of(error)}"
            )
            return self._failed(task, failure_of(bad, attempt=task.attempt, non_retryable=True))
        if self._debug:
            self._log(self._logger.debug, "activity completed", task)
        return task.completed(result, worker=self._worker)

    def raised(self, task: ActivityTask, definition: AnyActivity, error: BaseException) -> TaskFailed:
        """Encode the exception that an activity raised."""
        non_retryable = isinstance(error, (FatalError, *definition.non_retryable))
        after_ms = 0
        if isinstance(error, RetryableError) and error.retry_after is not None:
            try:
                now_ms = int(time.time() * 1_000)
                after_ms = max(1, due_ms(error.retry_after, now_ms) - now_ms)
            except BadDuration as bad:
                bad.__cause__, error = error, bad
        failure = failure_of(error, attempt=task.attempt, non_retryable=non_retryable)
        return self._failed(task, failure, retry_after_ms=after_ms)

    def timed_out(self, task: ActivityTask, definition: AnyActivity) -> TaskFailed:
        """Failure of an attempt that exceeded its timeout; non-retryable if the activity lists TimeoutError."""
        failure = Failure(
            type="TimeoutError",
            message=f"Activity {task.activity} did not end within its timeout of {task.timeout_ms / 1_000:g} s.",
            kind="timeout",
            non_retryable=isinstance(TimeoutError(), definition.non_retryable),
            attempts=task.attempt,
        )
        return self._failed(task, failure)

    def cancelled(self, task: ActivityTask) -> TaskFailed:
        """Failure of an attempt that was cancelled, or whose task was not begun because of that."""
        message = f"Attempt {task.attempt} of activity {task.activity} was cancelled: no run waits for it."
        failure = Failure(
            type=class_name(ActivityCancelledError), message=message, kind="cancelled", attempts=task.attempt
        )
        if self._debug:
            self._log(self._logger.debug, "activity cancelled", task)
        return task.failed(failure, worker=self._worker)

    def outside(self, task: ActivityTask) -> TaskStarted:
        """What is reported of an attempt that will be completed from outside."""
        if self._debug:
            self._log(self._logger.debug, "activity is completed later", task)
        return task.started(self._worker, outside=True)

    def left(self, task: ActivityTask) -> TaskFailed:
        """Failure of an attempt that a worker leaves because it stops."""
        message = f"The worker stopped before attempt {task.attempt} of activity {task.activity} had ended."
        return self._failed(task, Failure(type="WorkerStopped", message=message, attempts=task.attempt))

    def not_bound(self, task: ActivityTask, error: Exception) -> TaskFailed:
        """Failure of an input that does not fit; retryable only where a type hint could not be resolved."""
        non_retryable = isinstance(error, BadInput)
        return self._failed(task, failure_of(error, attempt=task.attempt, non_retryable=non_retryable))

    def _failed(self, task: ActivityTask, failure: Failure, *, retry_after_ms: int = 0) -> TaskFailed:
        self._log(
            self._logger.warning,
            "activity failed",
            task,
            error=failure.type,
            message=failure.message,
            non_retryable=failure.non_retryable,
        )
        return task.failed(failure, worker=self._worker, retry_after_ms=retry_after_ms)

    def _log(self, write: Callable[..., Any], event: str, task: ActivityTask, **fields: Any) -> None:
        with contextlib.suppress(Exception):  # a log line that cannot be written must not cost a result
            write(
                event,
                workflow_id=task.workflow_id,
                run_id=task.run_id,
                activity=task.activity,
                attempt=task.attempt,
                **fields,
            )
