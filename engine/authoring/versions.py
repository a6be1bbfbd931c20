"""Changes of workflow code while runs are open."""

from __future__ import annotations

from penstock.engine.authoring.context import current


def patched(patch: str) -> bool:
    """Whether to take the new path of the change `patch`: True for runs that had not come this far before it."""
    return current("patched()").patched(patch)
