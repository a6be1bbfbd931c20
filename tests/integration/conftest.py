"""Fixture of whole-system tests, which run on both logs, shared between processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.system import System


@pytest.fixture(params=["embedded", "kafka"])
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    """A fresh namespace of three shards."""
    if request.param == "kafka":
        url = f"kafka://{request.getfixturevalue('kafka_bootstrap')}"
    else:
        url = f"embedded:{tmp_path}/log.sqlite3"
    made = System(url, 3, tmp_path)
    yield made
    made.close()
