"""What may a program import? The public face: workflows, activities, clients, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.client import Client, Run
from penstock.engine.core.saga import Saga
from penstock.engine.core.workflow import (
    Info,
    Signal,
    get_run,
    info,
    now,
    patched,
    random,
    side_effect,
    sleep,
    uuid4,
    wait_condition,
    workflow,
)
from penstock.schemas.errors import (
    ActivityFailed,
    ChildWorkflowFailed,
    CommandRejected,
    PenstockError,
    UserError,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowTerminated,
)
from penstock.sync_client import SyncClient
from penstock.workers.activity import activity
from penstock.workers.info import activity_info

if TYPE_CHECKING:
    from penstock.embedding import Engine

__version__ = "0.1.0"

__all__ = [
    "ActivityFailed",
    "ChildWorkflowFailed",
    "Client",
    "CommandRejected",
    "Engine",
    "Info",
    "PenstockError",
    "Run",
    "Saga",
    "Signal",
    "SyncClient",
    "UserError",
    "WorkflowCancelled",
    "WorkflowFailed",
    "WorkflowTerminated",
    "activity",
    "activity_info",
    "get_run",
    "info",
    "now",
    "patched",
    "random",
    "side_effect",
    "sleep",
    "uuid4",
    "wait_condition",
    "workflow",
]


def __getattr__(name: str) -> Any:
    """Engine alone is imported when asked for: it brings a web server along, which workflow modules do not need."""
    if name == "Engine":
        from penstock.embedding import Engine

        return Engine
    raise AttributeError(f"module 'penstock' has no attribute {name!r}")
