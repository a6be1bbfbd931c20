"""Fixtures of the tests of the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.engine.runtime.driver_flows import ALL
from tests.engine.runtime.driver_rig import Rig


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    """Makes rigs, and closes them."""
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(*ALL, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
