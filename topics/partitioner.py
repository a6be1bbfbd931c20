"""Partition of a key: Kafka's murmur2, so that clients in every language agree.

Source: `org.apache.kafka.common.utils.Utils.murmur2` and `BuiltInPartitioner.partitionForKey`. librdkafka partitions
with CRC32 by default (`partitioner=murmur2_random` changes that); Penstock always sets the partition explicitly.
"""

from __future__ import annotations

import struct

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF


def partition_of(key: bytes | str, partitions: int) -> int:
    """The partition of a key (text is encoded as UTF-8) in a topic with `partitions` partitions."""
    return (_murmur2_unsigned(key.encode() if isinstance(key, str) else key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """The 32-bit hash as a signed number, as in Java."""
    value = _murmur2_unsigned(data)
    return value - 0x100000000 if value & 0x80000000 else value


def _murmur2_unsigned(data: bytes) -> int:
    length = len(data)
    whole = length & ~3
    value = _SEED ^ length
    # One unpack for all words is several times as fast as slicing four bytes at a time.
    for word in struct.unpack_from(f"<{whole >> 2}I", data):
        word = (word * _MULTIPLIER) & _MASK
        value = ((value * _MULTIPLIER) & _MASK) ^ ((word ^ (word >> 24)) * _MULTIPLIER & _MASK)
    if whole != length:
        value = ((value ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER) & _MASK
    value = ((value ^ (value >> 13)) * _MULTIPLIER) & _MASK
    return value ^ (value >> 15)
