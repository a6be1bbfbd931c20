"""Sizes of the commands that one shard keeps for runs that have not started, in memory: nearly all starts meet none."""

from __future__ import annotations

from penstock.engine.core.keys import KEPT, after, kept_prefix, parse_kept_key
from penstock.engine.core.view import RowScanner


class KeptCommands:
    """Which ids have commands, and how many bytes they take; follows the rows."""

    def __init__(self, rows: RowScanner) -> None:
        self._rows = rows
        self._sizes: dict[str, dict[bytes, int]] = {}

    def __contains__(self, workflow_id: str) -> bool:
        return workflow_id in self._sizes

    def size(self) -> tuple[int, int]:
        """Number of the commands, and their bytes."""
        sizes = [size for found in self._sizes.values() for size in found.values()]
        return len(sizes), sum(sizes)

    def reset(self) -> None:
        """Read all rows."""
        self._sizes = {}
        for key, value in self._rows.scan(KEPT, after(KEPT)):
            self._sizes.setdefault(parse_kept_key(key), {})[key] = len(value)

    def refresh(self, workflow_id: str) -> None:
        """Read the rows of an id, which a decision may have changed."""
        found = {key: len(value) for key, value in self._rows.of_run(workflow_id, kept_prefix(workflow_id))}
        if found:
            self._sizes[workflow_id] = found
        else:
            self._sizes.pop(workflow_id, None)
