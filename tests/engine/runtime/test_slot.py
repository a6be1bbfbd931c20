"""Does every data directory get a name of its own, whoever begins with it at once or died over it?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from penstock.engine.runtime.processor import Slot


def test_processes_that_begin_at_once_share_one_whole_name(tmp_path: Path) -> None:
    """None of them sees a name that is only half written, and they agree on one."""
    for attempt in range(20):
        with ThreadPoolExecutor(4) as pool:
            slots = list(pool.map(lambda _, at=attempt: Slot(tmp_path / f"{at}"), range(4)))
        assert len({slot.installation for slot in slots}) == 1
        assert len(slots[0].installation) == 32
        assert sorted(slot.number for slot in slots) == [0, 1, 2, 3]
        for slot in slots:
            slot.close()


def test_an_empty_name_is_made_anew(tmp_path: Path) -> None:
    """A process that was killed while it wrote left nothing to share with other machines."""
    (tmp_path / "installation").touch()
    slot = Slot(tmp_path)
    assert len(slot.installation) == 32
    slot.close()
    again = Slot(tmp_path)
    assert again.installation == slot.installation
    again.close()
