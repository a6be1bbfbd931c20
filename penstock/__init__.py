"""What may a program import? The public face: workflows, activities, clients, errors."""

from __future__ import annotations

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

__version__ = "0.1.0"

__all__ = [
    "ActivityFailed",
    "ChildWorkflowFailed",
    "Client",
    "CommandRejected",
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
