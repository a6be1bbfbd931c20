"""Admission of tasks while a suspect runs alone (workers/intake/gate.py)."""

from __future__ import annotations

from penstock.workers.intake.gate import Gate, Suspicion
from tests.workers.intake.held import held_task


def test_a_suspect_begins_once_it_is_marked_and_alone() -> None:
    """The first suspect closes the gate to all others, and begins when it is marked; then the gate is opened again."""
    gate, suspect, second, other = Gate(), held_task(0), held_task(1), held_task(2)
    suspect.suspicion, second.suspicion = Suspicion(0), Suspicion(0)
    assert gate.admits(other)
    assert not gate.admits(suspect)
    assert not gate.admits(other)
    suspect.suspicion.marked = second.suspicion.marked = True
    assert not gate.admits(second)
    assert gate.admits(suspect)
    gate.open(second)
    assert not gate.admits(other)
    gate.open(suspect)
    assert gate.admits(other)
