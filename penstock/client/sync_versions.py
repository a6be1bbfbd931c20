"""Versions of workflow types for programs without asyncio: `SyncClient.versions`."""

from __future__ import annotations

from penstock.client.reads import JsonList
from penstock.client.sync_schedules import Waiter
from penstock.client.versions import Versions, WorkflowType
from penstock.schemas.values.durations import Duration


class SyncVersions:
    """The versions of a client's namespace; see `Versions`."""

    def __init__(self, client: Waiter, versions: Versions) -> None:
        self._client, self._versions = client, versions

    def set(
        self,
        type: WorkflowType,
        version: int,
        share: str | float | None,
        *,
        by: str = "",
        reason: str = "",
        timeout: Duration | None = None,
    ) -> str:
        """As `Versions.set`."""
        return self._client.wait(self._versions.set(type, version, share, by=by, reason=reason, timeout=timeout))

    def shares(self, type: WorkflowType = "") -> JsonList:
        """As `Versions.shares`."""
        return self._client.wait(self._versions.shares(type))
