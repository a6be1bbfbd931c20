"""Completion of activities from outside, by the token of an attempt."""

from __future__ import annotations

import time
from typing import Any

from penstock.client.connection import Connection
from penstock.client.pending import encoded_json
from penstock.schemas.class_names import class_name
from penstock.schemas.errors import ActivityCancelledError, CommandRejected
from penstock.schemas.records.activity import CompleteActivity, FailActivity, HeartbeatActivity
from penstock.schemas.values.durations import Moment, due_ms
from penstock.schemas.values.tokens import read_token, token_keys

NOT_WANTED = frozenset({"not_pending", "already_closed", "not_found"})
"""Refusals that mean that no run waits for the attempt."""


async def complete(connection: Connection, token: str, value: bytes) -> None:
    """End the attempt's activity with a result (JSON)."""
    await connection.send(CompleteActivity(result=value, **_target(connection, token)))


async def fail(
    connection: Connection, token: str, error: str | BaseException, retry_after: Moment | None, *, retryable: bool
) -> None:
    """Fail the attempt."""
    now_ms = int(time.time() * 1_000)
    after_ms = 0 if retry_after is None else max(1, due_ms(retry_after, now_ms) - now_ms)
    message = str(error)
    name = class_name(type(error)) if isinstance(error, BaseException) else ""
    await connection.send(
        FailActivity(
            message=message,
            type=name,
            non_retryable=not retryable,
            retry_after_ms=after_ms,
            **_target(connection, token),
        )
    )


async def heartbeat(connection: Connection, token: str, details: Any) -> None:
    """Report that the attempt goes on. Raises ActivityCancelledError if no run waits for it."""
    data = encoded_json(details, "the details")
    try:
        await connection.send(HeartbeatActivity(details=data, **_target(connection, token)))
    except CommandRejected as refused:
        if refused.reason in NOT_WANTED:
            raise ActivityCancelledError(str(refused)) from refused
        raise


def _target(connection: Connection, token: str) -> dict[str, Any]:
    """Fields of a command about the attempt. Raises BadToken before anything is sent."""
    settings = connection.settings
    named = read_token(token, token_keys(settings.token_key, settings.prefix, settings.namespace))
    return {
        "workflow_id": named.workflow_id,
        "run_id": named.run_id,
        "sequence": named.sequence,
        "attempt": named.attempt,
        **connection.reply_address(),
    }
