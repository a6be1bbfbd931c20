"""Test of `dev --reload` on Kafka."""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.penstock.cli.reloading import BREAKING, HARMLESS, Dev, alive, wait_for


def test_edits_of_code_that_kafka_serves(kafka_bootstrap: str, tmp_path: Path) -> None:
    """A breaking edit is kept away, a harmless one goes live, and the run that was open ends right."""
    dev = Dev(tmp_path, f"kafka://{kafka_bootstrap}", f"reload-{uuid.uuid4().hex[:10]}")
    try:
        dev.start("open")
        dev.edit(BREAKING)
        assert "penstock dev: open  reload-order  DIFFERS, and would be BLOCKED\n" in dev.says("stop this command")
        dev.edit(HARMLESS)
        dev.says("Reloaded: 1 open runs go on with the new code.")
        dev.start("new")
        assert dev.finish("open") == 11
        assert dev.finish("new") == 21
    finally:
        children = dev.children()
        dev.close()
        wait_for("the end of its children", lambda: not any(map(alive, children)))
