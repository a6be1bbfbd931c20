"""Message ids as UUIDv7: a millisecond, then random bits (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import random
import time
import uuid

# An id must be unique, not secret: a generator of its own, which programs do not seed, needs no system call for an id.
# It is seeded by the system, and again in a forked process, which would otherwise repeat the ids of its parent.
_generator = random.Random()  # noqa: S311 - see above
os.register_at_fork(after_in_child=_generator.seed)

_RANDOM_BITS = 74
_LOW_BITS = 62
_MILLISECOND_BITS = 48


def uuid7() -> str:
    """Return a new message id: 36 characters that sort by their millisecond of creation."""
    return str(uuid7_at(time.time_ns() // 1_000_000, _generator.getrandbits(_RANDOM_BITS)))


def uuid7_at(unix_ms: int, random_bits: int) -> uuid.UUID:
    """Return the UUIDv7 of a millisecond (48 bits) and a random number (74 bits: 12 for rand_a, 62 for rand_b)."""
    if not 0 <= unix_ms < 1 << _MILLISECOND_BITS or not 0 <= random_bits < 1 << _RANDOM_BITS:
        raise ValueError(f"a UUIDv7 holds 48 bits of time and 74 random bits, not {unix_ms} and {random_bits}")
    rand_a, rand_b = random_bits >> _LOW_BITS, random_bits & ((1 << _LOW_BITS) - 1)
    version, variant = 0x7, 0b10
    return uuid.UUID(int=unix_ms << 80 | version << 76 | rand_a << 64 | variant << 62 | rand_b)
