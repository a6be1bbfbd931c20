"""Commands that start runs: one function for all ways to start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from penstock.client.checks import check_headers, check_on_existing
from penstock.schemas.ids import check_version, check_workflow_id
from penstock.schemas.records.run import OnExisting, StartWorkflow
from penstock.schemas.values.attributes import SearchValue, encode_memo, encode_search
from penstock.schemas.values.durations import Duration, duration_ms
from penstock.schemas.values.payload import check_size
from penstock.schemas.values.requests import ChildRequest
from penstock.schemas.values.retry_options import UNSET, Unset, gives_retry, run_bounds


class StartOptions(NamedTuple):
    """Options of a start, as `Client.start` takes them."""

    on_existing: OnExisting = "use_existing"
    headers: Mapping[str, str] | None = None
    start_delay: Duration | None = None
    run_timeout: Duration | None = None
    execution_timeout: Duration | None = None
    retries: int | Unset | None = UNSET
    backoff: float | Sequence[Duration] | Unset = UNSET
    memo: Mapping[str, Any] | None = None
    search: Mapping[str, SearchValue] | None = None
    version: int | None = None


def start_command(
    asked: ChildRequest, input: bytes, id: str, options: StartOptions, address: Mapping[str, Any]
) -> StartWorkflow:
    """The command that starts what a call asks for under this id: its own bounds for those that are not given.

    `input`: JSON. `address`: message id and reply partition. Raises BadInput, BadName, BadDuration, PayloadTooLarge."""
    check_on_existing(options.on_existing)
    check_headers(options.headers)
    check_size(input, what=f"the input of {asked.workflow_type}")
    bounds = run_bounds(options.run_timeout, options.execution_timeout, options.retries, options.backoff)
    return StartWorkflow(
        workflow_id=check_workflow_id(id),
        workflow_type=asked.workflow_type,
        input=input,
        on_existing=options.on_existing,
        headers=dict(options.headers or {}),
        start_delay_ms=0 if options.start_delay is None else duration_ms(options.start_delay),
        run_timeout_ms=bounds.run_timeout_ms or asked.run_timeout_ms,
        execution_timeout_ms=bounds.execution_timeout_ms or asked.execution_timeout_ms,
        retry=bounds.retry if gives_retry(options.retries, options.backoff) else asked.retry,
        memo=asked.memo if options.memo is None else encode_memo(options.memo),
        search=asked.search if options.search is None else encode_search(options.search),
        version=asked.version if options.version is None else check_version(options.version),
        **address,
    )


def check_options(options: StartOptions) -> None:
    """Raise what `start_command` raises for these options, whatever is started."""
    start_command(ChildRequest("-"), b"null", "-", options, {})
