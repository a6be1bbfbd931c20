"""Tests of message ids against RFC 9562."""

import multiprocessing
import random
import uuid

import pytest

from penstock.client import uuid7 as uuid7_module
from penstock.client.uuid7 import uuid7, uuid7_at


def test_the_example_of_the_rfc():
    """The time and random bits of RFC 9562, appendix A.6 give its test vector."""
    rand_a, rand_b = 0xCC3, 0x18C4DC0C0C07398F
    assert str(uuid7_at(0x017F22E279B0, rand_a << 62 | rand_b)) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def test_version_and_variant():
    """A new id has version 7 and the RFC's variant, and all are distinct."""
    made = [uuid.UUID(uuid7()) for _ in range(1_000)]
    assert {(one.version, one.variant) for one in made} == {(7, uuid.RFC_4122)}
    assert len(set(made)) == len(made)


def test_order_of_time():
    """Ids sort by their millisecond, whatever the random bits."""
    all_ones = (1 << 74) - 1
    assert str(uuid7_at(1_000, all_ones)) < str(uuid7_at(1_001, 0))


@pytest.mark.parametrize(("unix_ms", "random_bits"), [(-1, 0), (1 << 48, 0), (0, -1), (0, 1 << 74)])
def test_numbers_out_of_range(unix_ms, random_bits):
    """A time or number out of range is refused instead of overflowing into other fields."""
    with pytest.raises(ValueError, match="48 bits of time"):
        uuid7_at(unix_ms, random_bits)


def test_forked_processes():
    """A forked process and its parent make different ids, even in the same millisecond."""
    context = multiprocessing.get_context("fork")
    theirs = context.Queue()
    child = context.Process(target=lambda: theirs.put(uuid7_module._generator.getrandbits(74)))
    child.start()
    found = theirs.get(timeout=30)
    child.join(30)
    assert found != uuid7_module._generator.getrandbits(74)


def test_seeded_programs():
    """A program that seeds `random` gets different ids all the same."""
    random.seed(7)
    first = uuid7()[14:]
    random.seed(7)
    assert uuid7()[14:] != first
