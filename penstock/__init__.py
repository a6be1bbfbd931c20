"""Public API of Penstock: workflows, activities, clients, engines and all errors.

Each name is imported on first access, so that the command line handles interrupts before libraries are loaded, and
modules of workflows load no web server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.client.client import Client
    from penstock.client.run import Run
    from penstock.client.schedules import ScheduleHandle
    from penstock.client.sync import SyncClient
    from penstock.client.update import UpdateHandle
    from penstock.engine.authoring.chain import continue_as_new
    from penstock.engine.authoring.children import ChildRun, child, start_child
    from penstock.engine.authoring.context import Info, info, now, random, side_effect, uuid4
    from penstock.engine.authoring.describing import details, set_search
    from penstock.engine.authoring.external import get_run
    from penstock.engine.authoring.handlers import Query, Update
    from penstock.engine.authoring.logger import logger
    from penstock.engine.authoring.publishing import publish
    from penstock.engine.authoring.signal import Signal
    from penstock.engine.authoring.versions import deprecate_patch, patched
    from penstock.engine.authoring.waiting import sleep, wait_condition
    from penstock.engine.authoring.workflow import workflow
    from penstock.engine.execution.bugs import CODE_ERRORS
    from penstock.hosting.engine import Engine
    from penstock.patterns.saga import Saga
    from penstock.schemas.errors import (
        ActivitiesHang,
        ActivityCancelledError,
        ActivityError,
        ActivityFailedError,
        ActivityNotPending,
        BadDuration,
        BadInput,
        BadName,
        BadToken,
        CallNotAwaited,
        ChildWorkflowFailed,
        CommandRejected,
        CompleteLater,
        EndlessWorkflow,
        FatalError,
        Fenced,
        LogError,
        LogUnavailable,
        ModuleNotLoaded,
        NonDeterminism,
        NonDeterministicCall,
        NotAdmitted,
        NotAnswered,
        NotInActivity,
        NotInWorkflow,
        OffsetOutOfRange,
        OutcomeUnknown,
        PayloadTooLarge,
        PenstockError,
        QueryFailedError,
        RecordRefused,
        RecordTooLarge,
        RetryableError,
        ScheduleAlreadyExists,
        ScheduleNotFound,
        SettingsError,
        StateMismatch,
        StillRunning,
        StopTimedOut,
        StoreAheadOfLog,
        StoreCorrupt,
        StoreError,
        StoreLocked,
        TopicMismatch,
        TopicRefused,
        TransactionAborted,
        Undecodable,
        UnknownQuery,
        UnknownSchema,
        UnknownTopic,
        UnknownUpdate,
        UnknownWorkflowType,
        UpdateFailedError,
        UpdateRejected,
        UserError,
        WorkflowAlreadyClosed,
        WorkflowAlreadyExists,
        WorkflowBlockedError,
        WorkflowCancelledError,
        WorkflowError,
        WorkflowFailedError,
        WorkflowNotFound,
        WorkflowTerminatedError,
    )
    from penstock.schemas.errors import ActivityCancelledError as ActivityCancelled
    from penstock.schemas.errors import ActivityFailedError as ActivityFailed
    from penstock.schemas.errors import QueryFailedError as QueryFailed
    from penstock.schemas.errors import UpdateFailedError as UpdateFailed
    from penstock.schemas.errors import WorkflowCancelledError as WorkflowCancelled
    from penstock.schemas.errors import WorkflowFailedError as WorkflowFailed
    from penstock.schemas.errors import WorkflowTerminatedError as WorkflowTerminated
    from penstock.schemas.values.schedule import Calendar, Schedule
    from penstock.workers.activity.decorator import activity
    from penstock.workers.activity.heartbeats import heartbeat, heartbeat_details
    from penstock.workers.activity.info import activity_info

__version__ = "0.1.0"

__all__ = [
    "CODE_ERRORS",
    "ActivitiesHang",
    "ActivityCancelled",
    "ActivityCancelledError",
    "ActivityError",
    "ActivityFailed",
    "ActivityFailedError",
    "ActivityNotPending",
    "BadDuration",
    "BadInput",
    "BadName",
    "BadToken",
    "Calendar",
    "CallNotAwaited",
    "ChildRun",
    "ChildWorkflowFailed",
    "Client",
    "CommandRejected",
    "CompleteLater",
    "EndlessWorkflow",
    "Engine",
    "FatalError",
    "Fenced",
    "Info",
    "LogError",
    "LogUnavailable",
    "ModuleNotLoaded",
    "NonDeterminism",
    "NonDeterministicCall",
    "NotAdmitted",
    "NotAnswered",
    "NotInActivity",
    "NotInWorkflow",
    "OffsetOutOfRange",
    "OutcomeUnknown",
    "PayloadTooLarge",
    "PenstockError",
    "Query",
    "QueryFailed",
    "QueryFailedError",
    "RecordRefused",
    "RecordTooLarge",
    "RetryableError",
    "Run",
    "Saga",
    "Schedule",
    "ScheduleAlreadyExists",
    "ScheduleHandle",
    "ScheduleNotFound",
    "SettingsError",
    "Signal",
    "StateMismatch",
    "StillRunning",
    "StopTimedOut",
    "StoreAheadOfLog",
    "StoreCorrupt",
    "StoreError",
    "StoreLocked",
    "SyncClient",
    "TopicMismatch",
    "TopicRefused",
    "TransactionAborted",
    "Undecodable",
    "UnknownQuery",
    "UnknownSchema",
    "UnknownTopic",
    "UnknownUpdate",
    "UnknownWorkflowType",
    "Update",
    "UpdateFailed",
    "UpdateFailedError",
    "UpdateHandle",
    "UpdateRejected",
    "UserError",
    "WorkflowAlreadyClosed",
    "WorkflowAlreadyExists",
    "WorkflowBlockedError",
    "WorkflowCancelled",
    "WorkflowCancelledError",
    "WorkflowError",
    "WorkflowFailed",
    "WorkflowFailedError",
    "WorkflowNotFound",
    "WorkflowTerminated",
    "WorkflowTerminatedError",
    "activity",
    "activity_info",
    "child",
    "continue_as_new",
    "deprecate_patch",
    "details",
    "get_run",
    "heartbeat",
    "heartbeat_details",
    "info",
    "logger",
    "now",
    "patched",
    "publish",
    "random",
    "set_search",
    "side_effect",
    "sleep",
    "start_child",
    "uuid4",
    "wait_condition",
    "workflow",
]

_MODULES = {
    "penstock.client.client": ("Client",),
    "penstock.client.run": ("Run",),
    "penstock.client.schedules": ("ScheduleHandle",),
    "penstock.hosting.engine": ("Engine",),
    "penstock.patterns.saga": ("Saga",),
    "penstock.engine.authoring.chain": ("continue_as_new",),
    "penstock.engine.authoring.children": ("ChildRun", "child", "start_child"),
    "penstock.engine.authoring.context": ("Info", "info", "now", "random", "side_effect", "uuid4"),
    "penstock.engine.authoring.describing": ("details", "set_search"),
    "penstock.engine.authoring.external": ("get_run",),
    "penstock.engine.authoring.publishing": ("publish",),
    "penstock.engine.authoring.handlers": ("Query", "Update"),
    "penstock.engine.authoring.logger": ("logger",),
    "penstock.engine.authoring.signal": ("Signal",),
    "penstock.engine.authoring.versions": ("deprecate_patch", "patched"),
    "penstock.engine.authoring.waiting": ("sleep", "wait_condition"),
    "penstock.engine.authoring.workflow": ("workflow",),
    "penstock.engine.execution.bugs": ("CODE_ERRORS",),
    "penstock.schemas.errors": (
        "ActivitiesHang",
        "ActivityCancelledError",
        "ActivityError",
        "ActivityFailedError",
        "ActivityNotPending",
        "BadDuration",
        "BadInput",
        "BadName",
        "BadToken",
        "CallNotAwaited",
        "ChildWorkflowFailed",
        "CommandRejected",
        "CompleteLater",
        "EndlessWorkflow",
        "FatalError",
        "Fenced",
        "LogError",
        "LogUnavailable",
        "ModuleNotLoaded",
        "NonDeterminism",
        "NonDeterministicCall",
        "NotAdmitted",
        "NotAnswered",
        "NotInActivity",
        "NotInWorkflow",
        "OffsetOutOfRange",
        "OutcomeUnknown",
        "PayloadTooLarge",
        "PenstockError",
        "QueryFailedError",
        "RecordRefused",
        "RecordTooLarge",
        "RetryableError",
        "ScheduleAlreadyExists",
        "ScheduleNotFound",
        "SettingsError",
        "StateMismatch",
        "StillRunning",
        "StopTimedOut",
        "StoreAheadOfLog",
        "StoreCorrupt",
        "StoreError",
        "StoreLocked",
        "TopicMismatch",
        "TopicRefused",
        "TransactionAborted",
        "Undecodable",
        "UnknownQuery",
        "UnknownSchema",
        "UnknownTopic",
        "UnknownUpdate",
        "UnknownWorkflowType",
        "UpdateFailedError",
        "UpdateRejected",
        "UserError",
        "WorkflowAlreadyClosed",
        "WorkflowAlreadyExists",
        "WorkflowBlockedError",
        "WorkflowCancelledError",
        "WorkflowError",
        "WorkflowFailedError",
        "WorkflowNotFound",
        "WorkflowTerminatedError",
    ),
    "penstock.schemas.values.schedule": ("Calendar", "Schedule"),
    "penstock.client.sync": ("SyncClient",),
    "penstock.client.update": ("UpdateHandle",),
    "penstock.workers.activity.decorator": ("activity",),
    "penstock.workers.activity.heartbeats": ("heartbeat", "heartbeat_details"),
    "penstock.workers.activity.info": ("activity_info",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
# Errors that share their name with an event carry the suffix Error; the short names work as well.
_SHORT_NAMES = frozenset(
    {
        "ActivityCancelled",
        "ActivityFailed",
        "QueryFailed",
        "UpdateFailed",
        "WorkflowCancelled",
        "WorkflowFailed",
        "WorkflowTerminated",
    }
)


if not TYPE_CHECKING:  # a type checker would accept every name

    def __getattr__(name: str) -> Any:
        """Import a public name from its module."""
        if name in _SHORT_NAMES:
            return __getattr__(f"{name}Error")
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'penstock' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
