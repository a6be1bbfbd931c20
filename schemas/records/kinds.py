"""Kinds of records: what all commands and all events share."""

from __future__ import annotations

from typing import ClassVar

import msgspec

NO_REPLY = -1
"""`reply_to` of a command that asks for no answer."""


class Command(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Record of the topic `commands`, addressed to a workflow id.

    `message_id` identifies the command: its effect happens once (empty: the processor derives one from the record's
    place). `reply_to` is the partition of `replies` that receives the answer, -1 for none. `origin` is
    `topic/partition/offset` of a record that was forwarded to its own shard, empty otherwise.

    `INTERNAL`: fields that only shards set; they cannot be written in JSON. `FROM_SHARDS`: shards alone send it."""

    INTERNAL: ClassVar[frozenset[str]] = frozenset()
    FROM_SHARDS: ClassVar[bool] = False

    workflow_id: str
    message_id: str = ""
    reply_to: int = NO_REPLY
    origin: str = ""


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Something that happened in a run, as its history records it.

    Some events are *requests*: what workflow code asked for (an activity, a timer, its own end). `sequence` numbers
    the requests of one run from 1, so that a later event can name the request that it answers. The machines in
    engine/core/machines list every event with what it changes and causes."""
