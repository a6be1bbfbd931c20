"""How is a message named? By a UUIDv7: the millisecond it was made in, then chance (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import random
import time
import uuid

# An id must be unique, not secret: a generator of our own, which nobody else seeds, costs no system call an id. It is
# seeded by the system, and anew in a forked process, which would otherwise make its parent's ids again.
_chance = random.Random()  # noqa: S311 - see above
os.register_at_fork(after_in_child=_chance.seed)

_RANDOM_BITS = 74
_LOW_BITS = 62
_MILLISECOND_BITS = 48


def uuid7() -> str:
    """A new message id: 36 characters that sort by the millisecond they were made in."""
    return str(uuid7_at(time.time_ns() // 1_000_000, _chance.getrandbits(_RANDOM_BITS)))


def uuid7_at(unix_ms: int, chance: int) -> uuid.UUID:
    """The UUIDv7 of that millisecond (48 bits) and that random number (74 bits: 12 for rand_a, 62 for rand_b)."""
    if not 0 <= unix_ms < 1 << _MILLISECOND_BITS or not 0 <= chance < 1 << _RANDOM_BITS:
        raise ValueError(f"a UUIDv7 holds 48 bits of time and 74 of chance, not {unix_ms} and {chance}")
    rand_a, rand_b = chance >> _LOW_BITS, chance & ((1 << _LOW_BITS) - 1)
    version, variant = 0x7, 0b10
    return uuid.UUID(int=unix_ms << 80 | version << 76 | rand_a << 64 | variant << 62 | rand_b)
