"""Tests of the rows that a decision sees: the store under layers that are not committed yet."""

from __future__ import annotations

from collections.abc import ItemsView

import pytest

from penstock.engine.runtime.overlay import Layer, Overlay
from penstock.engine.runtime.pace import Room
from penstock.engine.store.memory import MemoryStore


def layer(touched: str, **writes: bytes | None) -> Layer:
    made = Layer(0, 1, Room())
    made.change(touched, {key.encode(): value for key, value in writes.items()})
    return made


@pytest.fixture
def overlay() -> Overlay:
    """A store under two layers: run `a` lost a row and had one changed, `b` has a new one."""
    store = MemoryStore()
    store.write({b"Ha1": b"old", b"Ha2": b"old", b"Hb1": b"old"})
    found = Overlay(store)
    found.layers = [layer("a", Ha1=None, Ha3=b"new"), layer("b", Hb2=b"new"), layer("a", Ha2=b"new")]
    return found


def test_later_layers_count(overlay: Overlay) -> None:
    """A row has the value of the latest layer that wrote it, and is absent if that deleted it."""
    assert [overlay.get(key) for key in (b"Ha1", b"Ha2", b"Ha3", b"Hb1")] == [None, b"new", b"new", b"old"]
    assert list(overlay.scan(b"H", b"I")) == [
        (b"Ha2", b"new"),
        (b"Ha3", b"new"),
        (b"Hb1", b"old"),
        (b"Hb2", b"new"),
    ]


def test_rows_of_one_run(overlay: Overlay) -> None:
    """The rows of one run are those of a whole scan, although layers that did not touch it are skipped."""
    assert list(overlay.of_run("a", b"Ha")) == [(b"Ha2", b"new"), (b"Ha3", b"new")]
    assert list(overlay.of_run("b", b"Hb")) == [(b"Hb1", b"old"), (b"Hb2", b"new")]
    assert list(overlay.of_run("c", b"Hc")) == []


def test_rows_of_one_run_cost_what_the_run_wrote() -> None:
    """Looking up a run's rows reads none of the other writes of a layer, however many there are."""

    class Counted(dict[bytes, bytes | None]):
        read = 0

        def items(self) -> ItemsView[bytes, bytes | None]:
            Counted.read += len(self)
            return super().items()

    overlay = Overlay(MemoryStore())
    crowded = Layer(0, 1, Room())
    overlay.layers = [crowded]
    for number in range(1_000):
        crowded.change(f"run-{number}", Counted({f"W{number}/{row}".encode(): b"" for row in range(3)}))
    crowded.writes = Counted(crowded.writes)
    Counted.read = 0
    assert len(list(overlay.of_run("run-7", b"W7/"))) == 3
    assert Counted.read == 3
