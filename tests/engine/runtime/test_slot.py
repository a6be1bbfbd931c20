"""Tests of a processor's place in its state directory."""

from __future__ import annotations

import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from penstock.engine.runtime.slot import Slot
from penstock.topics.catalogue import Topics


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


def _name_of(data: Path) -> str:
    slot = Slot(data)
    slot.close()
    return slot.transactional_id(Topics())


def test_a_restart_keeps_the_transactional_id(tmp_path: Path) -> None:
    """A processor that is started again in its directory has the transactional id that it had."""
    assert _name_of(tmp_path) == _name_of(tmp_path)


def test_a_cloned_directory_has_an_id_of_its_own(tmp_path: Path) -> None:
    """A copy of a data directory gets another transactional id, says so once, and the original keeps its own."""
    original = _name_of(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    with capture_logs() as logs:
        clone = _name_of(tmp_path / "two")
        assert _name_of(tmp_path / "two") == clone
    assert [line["event"] for line in logs] == [
        "this data directory is a copy of another one, or was moved: it gets a transactional id of its own"
    ]
    assert clone != original == _name_of(tmp_path / "one")


def test_another_machine_with_the_same_directory_has_an_id_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was cloned whole, or is mounted twice, gives each machine another transactional id."""
    original = _name_of(tmp_path)
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert _name_of(tmp_path) != original


def test_a_name_without_a_place_is_made_anew(tmp_path: Path) -> None:
    """A process that was killed between the two files leaves no name that a copy could share."""
    original = _name_of(tmp_path)
    (tmp_path / "installation.place").unlink()
    assert _name_of(tmp_path) != original
