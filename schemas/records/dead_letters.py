"""Record of the topic `dead-letters`: an input that cannot be used, with its place and the reason."""

from __future__ import annotations

import msgspec


class DeadLetter(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An unusable record as it was read. `reason` is one of (`undecodable`, `unknown_type`, `bad_input`, `not_found`,
    `wrong_shard`, `already_exists`, `already_closed`, `too_large`), `message` says what is wrong and what to do."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    reason: str
    message: str
    at_ms: int
