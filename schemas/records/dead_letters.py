"""Where does a record go that nobody can use? Whole and unchanged to `dead-letters`, with where it lay and why."""

from __future__ import annotations

import msgspec


class DeadLetter(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A record as it was found. `reason` is a fixed word (`undecodable`, `unknown_type`, `bad_input`, `not_found`,
    `wrong_shard`, `already_exists`, `already_closed`, `too_large`), `message` a sentence that says what to do."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    reason: str
    message: str
    at_ms: int
