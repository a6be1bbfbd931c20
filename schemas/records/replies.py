"""Records of the topic `replies`. `message_id` is that of the command which asked for the reply."""

from __future__ import annotations

import msgspec

from penstock.schemas.failure import Failure


class Accepted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The command took effect.

    `existing`: the run existed before; a start joined it. `note`: a warning for the sender, empty for none."""

    message_id: str
    workflow_id: str
    run_id: str
    existing: bool = False
    status: str = "running"
    note: str = ""


class Rejected(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The command had no effect. `reason` is one of the words below, `message` says what is wrong and what to do.

    Reasons: `already_exists` | `not_found` | `already_closed` | `unknown_type` | `bad_input` | `bad_record` |
    `not_blocked` | `blocked` | `still_open` | `unknown_query` | `unknown_update` | `update_rejected` | `too_many` |
    `too_large` | `not_pending` | `engine_error`.
    """

    message_id: str
    workflow_id: str
    reason: str
    message: str
    run_id: str = ""


class RunClosed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The run closed. `status`: `completed` | `failed` | `cancelled` | `terminated`; no `failure` if completed."""

    message_id: str
    workflow_id: str
    run_id: str
    status: str
    result: bytes = b""
    failure: Failure | None = None


class QueryAnswered(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the run's code answered to a query: `result` (JSON), or the `failure` of its handler."""

    message_id: str
    workflow_id: str
    run_id: str
    result: bytes = b""
    failure: Failure | None = None


class UpdateClosed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How an update ended: `result` (JSON), or the `failure` of its handler, or of its run if that closed before."""

    message_id: str
    workflow_id: str
    run_id: str
    result: bytes = b""
    failure: Failure | None = None


class ReadAnswered(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A part of the answer to a read of rows (DescribeWorkflow, ReadHistory, …), which is JSON in UTF-8.

    The answer is the `data` of records 1 to `parts` joined; they are committed together, in the order of `part`."""

    message_id: str
    workflow_id: str
    shard: int
    data: bytes
    part: int = 1
    parts: int = 1


Reply = Accepted | Rejected | RunClosed | QueryAnswered | UpdateClosed | ReadAnswered
