"""Reading of an input record: what it asks, and whether this shard is the one to decide it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.engine.core.catalogue import INPUTS, ROW_READS
from penstock.engine.core.decision import Rejection
from penstock.schemas.errors import Undecodable, UnknownSchema
from penstock.schemas.records.kinds import Command
from penstock.schemas.records.reading import ListWorkflows
from penstock.schemas.records.schedule import ListSchedules
from penstock.schemas.records.share import ListVersionShares, SetVersionShare
from penstock.topics.catalogue import Topics
from penstock.topics.decoding import decoded, decoded_command, decoded_report
from penstock.topics.log import StoredRecord
from penstock.topics.partitioner import partition_of

_OF_SHARDS = frozenset({ListWorkflows, ListSchedules, SetVersionShare, ListVersionShares})
"""Commands to the shard to whose partition they were appended."""

COMMANDS = ROW_READS | {kind for kind in INPUTS if issubclass(kind, Command)}
RESULTS = frozenset(kind for kind in INPUTS if kind.__module__.endswith(".records.tasks"))


class Forward(msgspec.Struct, frozen=True, gc=False):
    """A command for another shard: its producer partitions otherwise."""

    command: Any


def read(
    record: StoredRecord,
    topics: Topics,
    shard: int,
    shards: int,
    *,
    outgrown: bool = False,
    token_keys: Sequence[bytes] = (),
) -> Any:
    """The command or result in `record`, with a message id; a Forward; or the Rejection that says what is wrong.

    `outgrown`: newer programs write to these topics. Raises UnknownSchema then, for a record that one may have
    written. `token_keys`: by which tokens of attempts are signed."""
    try:
        if record.topic == topics.results:
            if (record.value or b"").lstrip()[:1] == b"{":
                return _to_own_shard(decoded_report(record, token_keys), record, shard, shards)
            result = decoded(record)
            return result if type(result) in RESULTS else _misplaced(result, record)
        command: Any = decoded_command(record)
    except Undecodable as error:
        if outgrown and isinstance(error, UnknownSchema):
            raise
        return Rejection("undecodable", str(error))
    if type(command) not in COMMANDS:
        return _misplaced(command, record)
    return _to_own_shard(command, record, shard, shards)


def _to_own_shard(command: Any, record: StoredRecord, shard: int, shards: int) -> Any:
    """The command with a message id; a Forward, or a Rejection, if another shard is to decide it."""
    message_id = command.message_id
    if not message_id or not message_id.isprintable():
        command = msgspec.structs.replace(command, message_id=_message_id(record, message_id))
    if partition_of(command.workflow_id, shards) == shard or type(command) in _OF_SHARDS:
        return command
    if command.origin:
        return Rejection(
            "wrong_shard",
            f"It was forwarded from {command.origin} to shard {shard}, which is not {command.workflow_id}'s either; "
            "make sure that every processor has the same number of shards.",
        )
    origin = f"{record.topic}/{record.partition}/{record.offset}"
    return Forward(msgspec.structs.replace(command, origin=origin))


def stray(result: Any, shard: int, shards: int) -> Rejection | None:
    """Why a result that had no effect is on the wrong shard; None if it is not.

    Asked for those alone: to compute the shard of every result would cost a fifth of deciding it."""
    own = partition_of(result.workflow_id, shards)
    if own == shard:
        return None
    return Rejection(
        "wrong_shard",
        f"The result of {result.workflow_id} belongs to shard {own}: let its worker write to the partition that the "
        "task names (`shard`), then replay this letter.",
    )


def _message_id(record: StoredRecord, given: str) -> str:
    """Message id of a foreign record, from its own id or from its place."""
    identity = given or f"{record.topic}/{record.partition}/{record.offset}"
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()


def _misplaced(value: Any, record: StoredRecord) -> Rejection:
    return Rejection("undecodable", f"A {type(value).__name__} does not belong on the topic {record.topic}.")
