"""Mutations of what operators do by hand, each without one safeguard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.engine.core import decide as decide_module
from penstock.engine.core import effects as effects_module
from penstock.engine.core import evolve as evolve_module
from penstock.engine.core.failed_step import Step
from penstock.engine.core.keys import HISTORY
from penstock.engine.core.machines import activity as activity_module
from penstock.engine.core.machines import child as child_module
from penstock.engine.core.machines import deletion as deletion_module
from penstock.engine.core.machines import options as options_module
from penstock.engine.core.machines import reset as reset_module
from penstock.engine.core.machines import update as update_module
from penstock.engine.runtime import step as step_module
from penstock.schemas.records.activity import ActivitySkipped
from penstock.schemas.records.reset import ResetWorkflow, WorkflowReset
from penstock.schemas.records.signal import SignalReceived
from penstock.schemas.records.update import UpdateAwaited
from tests.simulation.mutation import Mutation
from tests.simulation.weather import Weather


def _resets(weather: Weather) -> None:
    weather.resets, weather.days = 0.3, 0.0


def _short_histories(weather: Weather) -> None:
    weather.history_max = 60


def _changes(weather: Weather) -> None:
    weather.changes = 0.5


def _skips(weather: Weather) -> None:
    weather.skips = 0.3


def _still_due(run: Any, event: Any, cause: Any) -> None:
    run.drop_activity(event.sequence)


def _last_caller_alone(run: Any, event: Any, cause: Any) -> None:
    row = run.update(event.message_id)
    latest = msgspec.structs.replace(row, reply_to=event.reply_to, waits_accepted=event.waits_accepted)
    update_module._put(run, latest)


def _under_another_seed(*arguments: Any, adopted: Any = reset_module._adopted) -> Any:
    return msgspec.structs.replace(adopted(*arguments), seed="0" * 16)


def _begun_anew(run: Any, base: Any, *arguments: Any, adopted: Any = reset_module._adopted) -> Any:
    return adopted(run, base._replace(is_open=False), *arguments)


def _told_to_parent(found: Any, run: Any, event: Any, shard: int, end: Any = reset_module._end) -> None:
    end(found, run, event, shard)
    child_module.report_to_parent(found, run)


def _no_signals(*arguments: Any, again: Any = reset_module.received_again) -> Any:
    return [event for event in again(*arguments) if not isinstance(event, SignalReceived)]


def _one_event_less(run: Any, command: Any, now_ms: int, reset: Any = reset_module._reset) -> Any:
    return reset(run, msgspec.structs.replace(command, to_event=max(0, command.to_event - 1)), now_ms)


def _from_the_start(*arguments: Any, **options: Any) -> Step:
    return Step(0)


def _unbounded(run: Any, row: Any, input: Any, decision: Any) -> Any:
    return decision


def _deletes(weather: Weather) -> None:
    weather.deletes = True


def _not_remembered(run: Any, cause: Any, what: str) -> None:
    """Remember nothing."""


def _without_its_end(run: Any, imported: Any, take_in: Any = evolve_module._take_in) -> None:
    take_in(run, imported)
    del run.writes[max(key for key in run.writes if key.startswith(HISTORY))]


MUTATIONS: Mapping[str, Mutation] = {
    "an attempt that is to begin at once waits for its time": Mutation(
        options_module, "_waiting_anew", lambda run, pending, retry_ms: pending, _changes
    ),
    "a skipped activity is still tried again": Mutation(
        activity_module, "_on_skipped", _still_due, _skips, table=(evolve_module.EVOLVERS, (ActivitySkipped,))
    ),
    "who skipped an activity is not recorded": Mutation(activity_module, "kept_text", lambda text: "", _skips),
    "activities that a reset run adopts get other keys": Mutation(
        reset_module, "_adopted", _under_another_seed, _resets
    ),
    "attempts that run begin again when their run is reset": Mutation(reset_module, "_adopted", _begun_anew, _resets),
    "the parent of a run that is reset is told of its end": Mutation(
        reset_module, "_end", _told_to_parent, _resets, table=(effects_module.EFFECTS, (WorkflowReset,))
    ),
    "signals after the cut of a reset are lost": Mutation(reset_module, "received_again", _no_signals, _resets),
    "a reset keeps one event less": Mutation(
        reset_module, "_reset", _one_event_less, _resets, table=(decide_module.DECIDERS, (ResetWorkflow,))
    ),
    "a deletion that is repeated deletes what began since": Mutation(
        deletion_module, "remember_change", _not_remembered, _deletes
    ),
    "an imported history lacks its last decision": Mutation(evolve_module, "_take_in", _without_its_end, _deletes),
    "a deletion leaves the ids of messages": Mutation(deletion_module, "MESSAGE", b"~", _deletes),
    "a failed run is retried from its start": Mutation(reset_module, "failed_step", _from_the_start),
    "a history grows beyond its bound": Mutation(decide_module, "bounded_history", _unbounded, _short_histories),
    "no warning tells of a long history": Mutation(
        step_module, "_log_length", lambda workflow_id, length, limit: None, _short_histories
    ),
    "the last caller of an update takes the place of the others": Mutation(
        update_module, "_on_awaited", _last_caller_alone, table=(evolve_module.EVOLVERS, (UpdateAwaited,))
    ),
}
