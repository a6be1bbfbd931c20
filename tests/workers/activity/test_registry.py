"""Registry of declared activities (workers/activity/registry.py)."""

from __future__ import annotations

import types
from collections.abc import Callable

import pytest

from penstock.schemas.errors import BadName
from penstock.workers.activity.decorator import activity, find, registered


def _declare(name: str, file: str, source: str = "def work() -> None: ...") -> Callable[[], None]:
    """Return a function `work` as another module would declare it."""
    other = types.ModuleType(name)
    exec(compile(source, file, "exec"), other.__dict__)
    return other.work  # type: ignore[no-any-return]


def test_the_same_place_declared_again_replaces() -> None:
    """A module that is loaded again replaces its activities, also if it is `__main__` the second time."""
    first = activity(_declare("orders", "/app/orders.py"))
    second = activity(_declare("__main__", "/app/orders.py"))
    assert registered() == {"work": second}
    assert registered()["work"] is not first


def test_one_name_in_two_places_is_refused_naming_both() -> None:
    """Two activities of one name raise BadName when they are looked up, not when their modules are imported."""
    activity(_declare("orders", "/app/orders.py"))
    activity(_declare("stock", "/app/stock.py"))
    with pytest.raises(BadName, match=r"orders\.work.*stock\.work"):
        registered()
    with pytest.raises(BadName, match="/app/stock.py"):
        find("work")
    assert find("nothing") is None
