"""Tests of the partitioner against Kafka's."""

from __future__ import annotations

import random

import pytest

from penstock.topics.partitioner import murmur2, partition_of

# From org.apache.kafka.common.utils.UtilsTest.testMurmur2.
PUBLISHED = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize("text", PUBLISHED)
def test_published_vectors(text: str) -> None:
    """The hash of each string in Kafka's own test is the one stated there."""
    assert murmur2(text.encode()) == PUBLISHED[text]


@pytest.mark.parametrize("text", PUBLISHED)
def test_the_partition_is_the_positive_hash_modulo(text: str) -> None:
    """As in BuiltInPartitioner: the sign bit is cleared, never negated."""
    for partitions in (1, 3, 4, 16):
        assert partition_of(text, partitions) == (PUBLISHED[text] & 0x7FFFFFFF) % partitions


def test_text_is_utf8() -> None:
    """A key given as text and as its UTF-8 bytes falls on the same partition."""
    for text in ("order-7", "заказ-7", "注文", ""):
        assert partition_of(text, 1_009) == partition_of(text.encode(), 1_009)


def _by_the_book(data: bytes) -> int:
    """Utils.murmur2, transcribed statement by statement."""
    mask = 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    for start in range(0, len(data) - len(data) % 4, 4):
        k = data[start] | data[start + 1] << 8 | data[start + 2] << 16 | data[start + 3] << 24
        k = (k * 0x5BD1E995) & mask
        k ^= k >> 24
        k = (k * 0x5BD1E995) & mask
        h = (h * 0x5BD1E995) & mask
        h ^= k
    tail = data[len(data) - len(data) % 4 :]
    if len(tail) == 3:
        h ^= tail[2] << 16
    if len(tail) >= 2:
        h ^= tail[1] << 8
    if tail:
        h ^= tail[0]
        h = (h * 0x5BD1E995) & mask
    h ^= h >> 13
    h = (h * 0x5BD1E995) & mask
    return h ^ (h >> 15)


def test_random_keys_hash_by_the_book() -> None:
    """For keys of every length up to 300 bytes, the fast form equals the algorithm written out."""
    chance = random.Random(7)
    for length in range(300):
        key = chance.randbytes(length)
        assert murmur2(key) & 0xFFFFFFFF == _by_the_book(key), f"seed 7, length {length}"
