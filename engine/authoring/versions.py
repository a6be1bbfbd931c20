"""Changes of workflow code while runs are open."""

from __future__ import annotations

from penstock.engine.authoring.context import current


def patched(patch: str) -> bool:
    """Return True if the run shall execute the changed code: it reaches this line for the first time since the change
    `patch` was deployed."""
    return current("patched()").patched(patch)
