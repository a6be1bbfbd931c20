"""Tests of a processor's place in its state directory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from penstock.engine.runtime.processor import Slot


def test_processes_that_begin_at_once_share_one_whole_name(tmp_path: Path) -> None:
    """None of several slots opened at once sees a name that is only half written, and they agree on one."""
    for attempt in range(20):
        with ThreadPoolExecutor(4) as pool:
            slots = list(pool.map(lambda _, at=attempt: Slot(tmp_path / f"{at}"), range(4)))
        assert len({slot.installation for slot in slots}) == 1
        assert len(slots[0].installation) == 32
        assert sorted(slot.number for slot in slots) == [0, 1, 2, 3]
        for slot in slots:
            slot.close()


def test_an_empty_name_is_made_anew(tmp_path: Path) -> None:
    """An empty installation name, left by a process that was killed while it wrote, is replaced."""
    (tmp_path / "installation").touch()
    slot = Slot(tmp_path)
    assert len(slot.installation) == 32
    slot.close()
    again = Slot(tmp_path)
    assert again.installation == slot.installation
    again.close()
