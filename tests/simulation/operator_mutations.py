"""Mutations of what operators do by hand, each without one safeguard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.engine.core import evolve as evolve_module
from penstock.engine.core.machines import activity as activity_module
from penstock.engine.core.machines import update as update_module
from penstock.schemas.records.activity import ActivitySkipped
from penstock.schemas.records.update import UpdateAwaited
from tests.simulation.mutation import Mutation
from tests.simulation.weather import Weather


def _skips(weather: Weather) -> None:
    weather.skips = 0.3


def _still_due(run: Any, event: Any, cause: Any) -> None:
    run.drop_activity(event.sequence)


def _last_caller_alone(run: Any, event: Any, cause: Any) -> None:
    row = run.update(event.message_id)
    latest = msgspec.structs.replace(row, reply_to=event.reply_to, waits_accepted=event.waits_accepted)
    update_module._put(run, latest)


MUTATIONS: Mapping[str, Mutation] = {
    "a skipped activity is still tried again": Mutation(
        activity_module, "_on_skipped", _still_due, _skips, table=(evolve_module.EVOLVERS, (ActivitySkipped,))
    ),
    "who skipped an activity is not recorded": Mutation(activity_module, "kept_text", lambda text: "", _skips),
    "the last caller of an update takes the place of the others": Mutation(
        update_module, "_on_awaited", _last_caller_alone, table=(evolve_module.EVOLVERS, (UpdateAwaited,))
    ),
}
