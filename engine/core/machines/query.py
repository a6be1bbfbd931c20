"""Queries: reads of a run's state by its own code. They change nothing and leave no record."""

from __future__ import annotations

from penstock.engine.core.activation import PROBLEMS
from penstock.engine.core.answers import chain_id, found_row, refused_read
from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.execution import UnknownHandler
from penstock.engine.core.limits import CALLER_MS, CALLER_MS_MAX, REASON_CHARS_MAX
from penstock.engine.core.machine import InputRule, Machine, Table
from penstock.engine.core.statuses import BLOCKED
from penstock.engine.core.view import RunView
from penstock.schemas.errors import BadInput
from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.reading import DescribeWorkflow, ListWorkflows, ReadHistory
from penstock.schemas.records.replies import QueryAnswered
from penstock.schemas.records.schedule import DescribeSchedule, ListSchedules
from penstock.schemas.values.failure import failure_of

TRANSITIONS: Table = {}
"""A query has no state."""


def _query(run: RunView, command: QueryWorkflow, now_ms: int) -> Decision:
    row = found_row(run, command.run_id, keep=False)
    if isinstance(row, Decision):
        return refused_read(row)
    if row.status == BLOCKED:
        message = (
            f"{run.workflow_id} is BLOCKED ({row.blocked_reason}), so its code cannot answer: {row.blocked_message}"
        )
        return refused_read(Rejection("blocked", message[:REASON_CHARS_MAX], row.run_id, keep=False))
    try:
        execution = run.execution()
    except PROBLEMS as problem:
        message = f"the code of {run.workflow_id} cannot be brought to the end of its history: {problem}"
        return refused_read(Rejection("blocked", message[:REASON_CHARS_MAX], row.run_id, keep=False))
    result, failure = b"", None
    try:
        result = execution.answer(command.query, command.input)
    except UnknownHandler as error:
        return refused_read(Rejection("unknown_query", str(error), row.run_id, keep=False))
    except BadInput as error:
        return refused_read(Rejection("bad_input", str(error), row.run_id, keep=False))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's handler may raise anything
        failure = failure_of(error)
        run.forget()
    answer = QueryAnswered(
        message_id=command.message_id, workflow_id=run.workflow_id, run_id=chain_id(row), result=result, failure=failure
    )
    return Decision(run_id=row.run_id, ignored="a query", reply=answer, is_read=True)


def is_late(
    command: QueryWorkflow | DescribeWorkflow | ReadHistory | ListWorkflows | DescribeSchedule | ListSchedules,
    appended_ms: int,
    read_to_ms: int,
) -> bool:
    """Whether the caller of a read gave up before the newest record read so far was appended (both epoch).

    Both are times of the log: the clock of a processor may be wrong by more than a caller waits."""
    timeout_ms = min(command.timeout_ms or CALLER_MS, CALLER_MS_MAX)
    return 0 < appended_ms < read_to_ms - timeout_ms


MACHINE = Machine(name="query", transitions=TRANSITIONS, inputs={QueryWorkflow: InputRule(_query)}, events={})
