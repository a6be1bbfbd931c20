"""BLOCKED runs in tests: awaiting one raises, as nothing in a test frees it while its result is awaited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.engine.core.keys import SHARD_KEY
from penstock.engine.core.rows import unpack_shard
from penstock.engine.runtime.reads import describe
from penstock.engine.store.store import StoreReader
from penstock.hosting.namespace import Namespace
from penstock.schemas.errors import WorkflowBlockedError
from penstock.topics.log import Log
from penstock.topics.partitioner import partition_of


class BlockedRuns:
    """The BLOCKED run that keeps another one from closing: the run itself, or a child that it awaits."""

    def __init__(self, log: Log, namespace: Namespace, stores: Mapping[int, StoreReader]) -> None:
        self._log, self._namespace, self._stores = log, namespace, stores

    def error(self, workflow_id: str, run_id: str) -> WorkflowBlockedError | None:
        """The error for who awaits the run; None while it may close."""
        run = self._described(workflow_id)
        if run is None or run_id not in {"", run["run_id"], run["first_run_id"]}:
            return None
        if run["status"] == "blocked":
            return WorkflowBlockedError(f"{workflow_id} is BLOCKED ({run['blocked_reason']}): {run['blocked_message']}")
        children = [self.error(child["workflow_id"], child["run_id"]) for child in run["pending_children"]]
        return next((error for error in children if error is not None), None)

    def _described(self, workflow_id: str) -> dict[str, Any] | None:
        """The run, once its shard has decided and stored all commands so far: a retry may have freed it."""
        shard, commands = partition_of(workflow_id, self._namespace.shards), self._namespace.topics.commands
        end = self._log.ends([(commands, shard)])[commands, shard][1]
        store = self._stores.get(shard)
        row = store.get(SHARD_KEY) if store is not None else None
        if store is None or row is None or unpack_shard(row).offsets.get(commands, 0) < end:
            return None
        return describe(store, workflow_id)
