"""Tests of the upper bounds of RocksDB's scans."""

import os

from penstock.engine.store.rocks import RocksStore


def test_the_end_of_a_scan_survives_other_scans(tmp_path):
    """A scan ends at its own stop key, even if other scans could have reused its options' memory."""
    store = RocksStore(tmp_path)
    store.write(dict.fromkeys((b"H1", b"H2", b"R", b"S"), b"value"))
    held = []
    for number in range(300):
        rows = store.scan(b"H", b"I%d" % (number % 10))
        held = [os.urandom(size) for size in range(30)]  # takes the place of what was freed
        others = store.scan(b"A", b"Z%d" % (number % 10))
        assert [key for key, _ in rows] == [b"H1", b"H2"]
        assert len(list(others)) == 4
    assert held
    store.close()
