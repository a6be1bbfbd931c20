"""Records of shares: how many of the new runs of a workflow type take a version of it.

Each shard has the shares of its own runs, so a command goes to the partition of every shard. Shares have rows and no
history: their events stand on the topic `events` alone, without a number, a workflow id and a run id."""

from __future__ import annotations

from typing import ClassVar

from penstock.schemas.records.kinds import Command, Event

UNSET = -1
"""`share` of a command that takes a version's share back."""


class SetVersionShare(Command, frozen=True, gc=False, kw_only=True):
    """Set the share of new runs that take a version, on the shard to whose partition the command was appended.

    `share`: in ten-thousandths of the runs that no higher version takes, 10000 for all of them, -1 for the default,
    which is all. `by`, `reason`: who asks for it, and why. `workflow_id` stays empty."""

    INTERNAL: ClassVar[frozenset[str]] = frozenset({"workflow_id"})

    workflow_id: str = ""
    workflow_type: str
    version: int
    share: int
    by: str = ""
    reason: str = ""


class ListVersionShares(Command, frozen=True, gc=False, kw_only=True):
    """Return the shares of the shard to whose partition the command was appended, by type and version.

    `workflow_type`: of that type alone, empty for all. `timeout_ms` as for DescribeWorkflow. `workflow_id` stays
    empty."""

    INTERNAL: ClassVar[frozenset[str]] = frozenset({"workflow_id"})

    workflow_id: str = ""
    workflow_type: str = ""
    timeout_ms: int = 0


class VersionShareSet(Event, frozen=True, gc=False, kw_only=True):
    """New runs of this shard take the version in this share from now on; fields as in SetVersionShare. Unnumbered."""

    workflow_type: str
    version: int
    share: int
    by: str = ""
    reason: str = ""


class VersionShareUnset(Event, frozen=True, gc=False, kw_only=True):
    """The version has no share of its own any more: new runs of this shard take it as by default. Unnumbered."""

    workflow_type: str
    version: int
    by: str = ""
    reason: str = ""
