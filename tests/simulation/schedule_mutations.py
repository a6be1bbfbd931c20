"""Mutations of schedules, each without one safeguard; scheduled.py judges what they did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.engine.core import schedule_plan
from penstock.engine.core.machines import schedule as schedule_module
from penstock.engine.core.schedule_plan import Plan
from penstock.schemas.values.ticks import first_tick
from tests.simulation.mutation import Mutation

PAST_MS = 120_000


def _begun_in_the_past(self: Plan, spec: Any, remaining: int, *, paused: bool, begin: Any = Plan.begin) -> None:
    begin(self, spec, remaining, paused=paused)
    self._next_ms = first_tick(spec, self._now_ms - PAST_MS)


def _beside_others(self: Plan, tick_ms: int, *ids: str, by_hand: bool = False, offer: Any = Plan.offer) -> Any:
    return offer(self, tick_ms, *ids[:2], "allow_all", by_hand=by_hand)


def _of_another(*arguments: Any, report: Any = schedule_module.report_of) -> Any:
    return msgspec.structs.replace(report(*arguments), run_id="another")


def _all_too_old(self: Plan, horizon_ms: int, pass_over: Any = Plan._pass_over) -> None:
    pass_over(self, self._now_ms)


MUTATIONS: Mapping[str, Mutation] = {
    "a changed schedule decides ticks of the past again": Mutation(Plan, "begin", _begun_in_the_past),
    "a tick starts a run beside an open one": Mutation(Plan, "offer", _beside_others),
    "the end of a scheduled run is not noted": Mutation(schedule_module, "report_of", _of_another),
    "late ticks are not made up for": Mutation(Plan, "_pass_over", _all_too_old),
    "a run starts before its jitter is over": Mutation(schedule_plan, "jitter_of", lambda *arguments: 0),
}
