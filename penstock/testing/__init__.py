"""Test kit: `TestEngine` for workflows, `ActivityEnvironment` for activities, and a plugin for pytest.

Each name is imported on first access, since pytest loads the plugin in every project.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.testing.calls import ActivityCalled, Published, SignalSent
    from penstock.testing.engine import TestEngine
    from penstock.testing.environment import ActivityEnvironment

__all__ = ["ActivityCalled", "ActivityEnvironment", "Published", "SignalSent", "TestEngine"]

_MODULES = {
    "ActivityCalled": "penstock.testing.calls",
    "ActivityEnvironment": "penstock.testing.environment",
    "Published": "penstock.testing.calls",
    "SignalSent": "penstock.testing.calls",
    "TestEngine": "penstock.testing.engine",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
