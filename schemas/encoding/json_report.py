"""What a program without Avro says of an attempt on the topic `results`: one JSON object for each record.

    {"token": "…", "result": {"paid": true}}
    {"token": "…", "failure": "the card was declined", "non_retryable": true}
    {"token": "…", "failure": "busy", "retry_after_ms": 30000}
    {"token": "…", "heartbeat": {"page": 3}}

In place of the token, `id`, `run_id`, `sequence` and `attempt` may name the attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.schemas.errors import BadName, BadToken, Undecodable
from penstock.schemas.ids import check_record_id
from penstock.schemas.records.activity import CompleteActivity, FailActivity, HeartbeatActivity
from penstock.schemas.values.tokens import read_token


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    token: str = ""
    id: str = ""
    run_id: str = ""
    sequence: int = 0
    attempt: int = 0
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    failure: str | msgspec.UnsetType = msgspec.UNSET
    type: str = ""
    non_retryable: bool = False
    retry_after_ms: int = 0
    heartbeat: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decoder = msgspec.json.Decoder(_Said)


def parse_report(data: bytes, keys: Sequence[bytes]) -> CompleteActivity | FailActivity | HeartbeatActivity:
    """The command that stands for what the JSON object says. `keys`: of tokens. Raises Undecodable."""
    try:
        said = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Undecodable(
            f"The record begins like JSON but says nothing of an attempt: {error}; write a token, and result, failure "
            "or heartbeat."
        ) from error
    place = _place(said, keys)
    given = [name for name in ("result", "failure", "heartbeat") if getattr(said, name) is not msgspec.UNSET]
    if len(given) != 1:
        raise Undecodable("The record needs exactly one of the keys result, failure and heartbeat.")
    if isinstance(said.result, msgspec.Raw):
        return CompleteActivity(result=bytes(said.result), **place)
    if isinstance(said.heartbeat, msgspec.Raw):
        return HeartbeatActivity(details=bytes(said.heartbeat), **place)
    return FailActivity(
        message=str(said.failure),
        type=said.type,
        non_retryable=said.non_retryable,
        retry_after_ms=said.retry_after_ms,
        **place,
    )


def _place(said: _Said, keys: Sequence[bytes]) -> dict[str, Any]:
    """The fields of a command that name the attempt."""
    try:
        if said.token:
            named = read_token(said.token, keys)
            return {
                "workflow_id": named.workflow_id,
                "run_id": named.run_id,
                "sequence": named.sequence,
                "attempt": named.attempt,
            }
        check_record_id(said.id)
    except (BadToken, BadName) as error:
        raise Undecodable(str(error)) from error
    if said.sequence < 1 or said.attempt < 1 or not said.run_id:
        raise Undecodable("The record needs a token, or all of id, run_id, sequence and attempt.")
    return {"workflow_id": said.id, "run_id": said.run_id, "sequence": said.sequence, "attempt": said.attempt}
