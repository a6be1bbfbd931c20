"""Records of reads: a caller asks a shard for what it stores of its runs. They leave no event, as queries do."""

from __future__ import annotations

from typing import ClassVar

from penstock.schemas.records.kinds import Command


class DescribeWorkflow(Command, frozen=True, gc=False, kw_only=True):
    """Return the state of the id's current run and what it waits for.

    `timeout_ms`: how long the caller waits (0: 30 s); a command that is read later is dropped."""

    timeout_ms: int = 0


class ReadHistory(Command, frozen=True, gc=False, kw_only=True):
    """Return a page of a run's events, as many as fit. Empty `run_id`: the current run.

    `after`: number of the last event of the page before, 0 for the first page. `timeout_ms` as for
    DescribeWorkflow."""

    run_id: str = ""
    after: int = 0
    timeout_ms: int = 0


class ListWorkflows(Command, frozen=True, gc=False, kw_only=True):
    """Return a page of the runs of the shard to whose partition the command was appended, sorted by id.

    `status`, `workflow_type`: those runs alone, empty for all. `after`: only ids that sort after this one. `limit`:
    runs of the page at most; it may have fewer, even none, and say that more follow. `timeout_ms` as for
    DescribeWorkflow. `workflow_id` stays empty."""

    INTERNAL: ClassVar[frozenset[str]] = frozenset({"workflow_id"})

    workflow_id: str = ""
    status: str = ""
    workflow_type: str = ""
    limit: int = 100
    after: str = ""
    timeout_ms: int = 0
