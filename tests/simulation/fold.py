"""Rows that follow from the topic `events` alone: each recorded decision, applied by `evolve`."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.engine.audit import apply
from penstock.engine.core.keys import run_key
from penstock.engine.core.rows import unpack_run
from penstock.engine.core.working import WorkingRun
from penstock.schemas.encoding.codec import decode
from tests.simulation.story import Violation

Writes = dict[bytes, bytes | None]


class Fold:
    """Rows of one shard, folded from its decisions; the RowReader of the runs that they are applied to."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def of_run(self, workflow_id: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((key, value) for key, value in self.rows.items() if key.startswith(prefix)))

    def apply(self, data: bytes) -> Writes:
        """Apply an encoded DecisionRecorded; returns what it wrote."""
        workflow_id = decode(data).workflow_id
        header = self.rows.get(run_key(workflow_id))
        run = WorkingRun(workflow_id, unpack_run(header) if header is not None else None, self, decode)
        try:
            apply(run, data)
        except AssertionError as error:
            raise Violation("E (evolve)", f"a decision that its run does not allow: {error}") from error
        self.write(run.writes)
        return run.writes

    def write(self, writes: Writes) -> None:
        """Change rows directly."""
        for key, value in writes.items():
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
