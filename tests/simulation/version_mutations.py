"""Mutations of versions and shares, each without one safeguard; versions.py and the model judge what they did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from penstock.engine.core import evolve as evolve_module
from penstock.engine.core import versions as versions_module
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.machines import share as share_module
from penstock.engine.core.working import WorkingRun
from penstock.schemas.records.share import VersionShareSet, VersionShareUnset
from penstock.schemas.values.shares import SHARE_ALL
from tests.simulation.mutation import Mutation
from tests.simulation.weather import Weather


def _versions(weather: Weather) -> None:
    """Processes that host different versions."""
    weather.builds, weather.versions = "usual", True


def _of_memory(self: Any, workflow_type: str, read: Any = WorkingRun.shares) -> Any:
    """The shares as the process has them: read from the row once."""
    known = self._reader.__dict__.setdefault("shares_known", {})
    if workflow_type not in known:
        known[workflow_type] = dict(read(self, workflow_type))
    return known[workflow_type]


def _also_in_memory(run: Any, event: Any, cause: Any, change: Any = share_module._on_changed) -> None:
    """Change the row, and at once what the process has, whatever becomes of the transaction."""
    change(run, event, cause)
    shares = run.shares(event.workflow_type)
    if isinstance(event, VersionShareSet):
        shares[event.version] = event.share
    else:
        shares.pop(event.version, None)


def _by_turns(*arguments: Any, turns: Iterator[int] = count()) -> int:
    return next(turns) * 3_777 % SHARE_ALL


MUTATIONS: Mapping[str, Mutation] = {
    "a share is read from memory, not from the row": Mutation(
        share_module,
        "_on_changed",
        _also_in_memory,
        _versions,
        also=((WorkingRun, "shares", _of_memory),),
        table=(evolve_module.EVOLVERS, (VersionShareSet, VersionShareUnset)),
    ),
    "a share takes runs by turns": Mutation(versions_module, "_place", _by_turns, _versions),
    "a run goes on with the highest version": Mutation(
        Hosted, "workflow", lambda self, workflow_type, version=0: self.workflows.get(workflow_type), _versions
    ),
}
