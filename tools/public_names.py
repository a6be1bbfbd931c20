"""Public names on the page docs/reference/python.md, by group."""

from __future__ import annotations

# Title, introduction and names of each group; a name without a module is imported from `penstock`.
PYTHON: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Workflows",
        (
            "The decorator, and what [workflow code](../guides/getting-started.md#what-workflow-code-may-do) may ask "
            "for while it runs; whatever asks the running workflow raises NotInWorkflow elsewhere, and `sleep` works "
            "everywhere. Guides: [signals](../guides/signals.md), "
            "[queries and updates](../guides/queries-and-updates.md), [sagas](../guides/sagas.md), "
            "[child workflows](../guides/child-workflows.md), "
            "[continuing as new](../guides/continue-as-new.md), [cancellation](../guides/cancellation.md), "
            "[describing runs](../guides/describing-runs.md), [`patched`](../guides/testing.md)."
        ),
        (
            "workflow",
            "penstock.engine.authoring.definition.WorkflowCall",
            "sleep",
            "Signal",
            "Query",
            "Update",
            "wait_condition",
            "continue_as_new",
            "Saga",
            "now",
            "random",
            "uuid4",
            "side_effect",
            "patched",
            "deprecate_patch",
            "logger",
            "info",
            "Info",
            "details",
            "set_search",
            "child",
            "start_child",
            "ChildRun",
            "get_run",
            "publish",
            "penstock.engine.authoring.external.ExternalRun",
            "CODE_ERRORS",
        ),
    ),
    (
        "Activities",
        "[Retries and time-outs](../guides/retries-and-timeouts.md) explains when an activity is tried again.",
        (
            "activity",
            "penstock.workers.activity.decorator.ActivityCall",
            "activity_info",
            "penstock.workers.activity.info.ActivityInfo",
            "heartbeat",
            "heartbeat_details",
        ),
    ),
    (
        "Clients",
        "They need nothing but the log; `describe`, `history` and `list` ask the processors of this machine.",
        (
            "Client",
            "Run",
            "UpdateHandle",
            "penstock.client.client.Started",
            "SyncClient",
            "penstock.client.sync.SyncRun",
            "penstock.client.versions.Versions",
            "penstock.client.sync_versions.SyncVersions",
        ),
    ),
    (
        "Schedules",
        "Runs that start by themselves ([schedules](../guides/schedules.md)): `client.schedules`.",
        (
            "Schedule",
            "Calendar",
            "penstock.client.schedules.Schedules",
            "ScheduleHandle",
            "penstock.client.sync_schedules.SyncSchedules",
            "penstock.client.sync_schedules.SyncScheduleHandle",
        ),
    ),
    (
        "Engines",
        "Processor, worker and client inside your own process ([testing](../guides/testing.md)).",
        (
            "Engine",
            "penstock.testing.TestEngine",
            "penstock.testing.ActivityEnvironment",
            "penstock.testing.ActivityCalled",
            "penstock.testing.SignalSent",
            "penstock.testing.Published",
        ),
    ),
)
DECORATORS = {"workflow", "activity"}
GIVEN = {
    "WorkflowCall",
    "ExternalRun",
    "ActivityCall",
    "Run",
    "SyncRun",
    "UpdateHandle",
    "Schedules",
    "ScheduleHandle",
    "SyncSchedules",
    "SyncScheduleHandle",
    "Versions",
    "SyncVersions",
}  # made by the library, not by users
# Public to our own modules only.
INSIDE = {
    "WorkflowCall.rewritten",
    "WorkflowCall.run_outside",
    "ActivityCall.rewritten",
    "ActivityCall.run_outside",
    "Client.reads",
    "Client.exchange",
    "Schedules.declare",
    "ScheduleHandle.send",
}
ALIASES = (
    "penstock.schemas.values.durations.Duration",
    "penstock.schemas.values.durations.Moment",
    "penstock.workers.activity.decorator.Backoff",
    "penstock.workers.activity.checks.Errors",
    "penstock.workers.activity.checks.Priority",
    "penstock.workers.activity.bounds.Cancel",
    "penstock.schemas.records.run.OnExisting",
    "penstock.client.checks.Wait",
    "penstock.schemas.values.attributes.SearchValue",
    "penstock.engine.authoring.workflow.Unfinished",
    "penstock.client.reads.Json",
    "penstock.client.reads.JsonList",
    "penstock.hosting.engine.Hosted",
    "penstock.schemas.values.schedule.Overlap",
)
CONSTANTS = {"CODE_ERRORS": "Errors that stand for a bug in workflow code: the default of `@workflow(blocks_on=…)`."}
