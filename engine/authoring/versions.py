"""Changes of workflow code while runs are open."""

from __future__ import annotations

from penstock.engine.authoring.context import current


def patched(patch: str) -> bool:
    """Return True if the run shall execute the changed code: it reaches this line for the first time since the change
    `patch` was deployed."""
    return current("patched()").patched(patch)


def deprecate_patch(patch: str) -> None:
    """Say that the changed code alone is left, while runs are open that recorded the patch: in the place of `patched`.

    Such runs pass the line as they did; others record nothing. Runs of the code before the patch become BLOCKED there,
    so deprecate it when none is open any more, and remove the line when no run is open that recorded the patch."""
    current("deprecate_patch()").patched(patch, deprecated=True)
