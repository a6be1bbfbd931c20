"""Builds of the workflow code that processes run: the usual one, its successor, and broken ones.

The successor guards its change with `patched`, so that every history replays in it; the usual build cannot replay the
histories that the successor began. A broken build does what the usual one does the first time and something else on
replay: its runs are BLOCKED as soon as they have to be rebuilt, until a process with a sound build has them. Two
block every run that they would complete: one has a bug, one does not return.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any, NamedTuple

from penstock.engine.authoring.context import info, side_effect
from penstock.engine.authoring.definition import WorkflowDefinition
from penstock.engine.authoring.signal import declared_signals
from penstock.engine.authoring.versions import patched
from penstock.engine.core.execution import ActivationOverran
from penstock.engine.core.hosted import Hosted
from tests.simulation.workflows import DEFINITIONS, HOSTED, hosting, square, stamp, unbook

Definition = WorkflowDefinition[..., Any]


class Build(NamedTuple):
    """Workflow code under a name. `repeats`: a decision does not depend on which runs were in memory."""

    name: str
    hosted: Hosted
    repeats: bool = True


def _with_code(definition: Definition, code: Callable[..., Any]) -> Definition:
    """The workflow type with other code, outside of the process-wide registry."""
    changed = copy.copy(definition)
    changed.fn = code
    return changed


def _succeeding(definition: Definition) -> Definition:
    async def code(*arguments: Any) -> Any:
        if patched("sim-next"):
            side_effect(lambda: "next")
        return await definition.fn(*arguments)

    return _with_code(definition, code)


def _requests_more(definition: Definition) -> Definition:
    async def code(*arguments: Any) -> Any:
        if info().replaying:
            side_effect(lambda: "more")
        return await definition.fn(*arguments)

    return _with_code(definition, code)


def _requests_otherwise(definition: Definition) -> Definition:
    async def code(*arguments: Any) -> Any:
        if info().replaying:
            await unbook("nothing")  # no workflow begins with this activity
        return await definition.fn(*arguments)

    return _with_code(definition, code)


def _ends_early(definition: Definition) -> Definition:
    async def code(*arguments: Any) -> Any:
        return None if info().replaying else await definition.fn(*arguments)

    return _with_code(definition, code)


def _meets_a_bug(definition: Definition) -> Definition:
    if definition.name == "sim_heavy":  # freed runs that the log refuses pause their processor, and make timers late
        return definition

    async def code(*arguments: Any) -> Any:
        result = await definition.fn(*arguments)
        raise AttributeError(f"a bug of this build loses {result}")

    return _with_code(definition, code)


def _runs_on(definition: Definition) -> Definition:
    """Do not return, and be interrupted as watch.py does."""
    if definition.name == "sim_heavy":  # as for a bug
        return definition

    async def code(*arguments: Any) -> Any:
        await definition.fn(*arguments)
        raise ActivationOverran("a loop of this build ran for 30 s without a wait")

    return _with_code(definition, code)


def _in_another_order(definition: Definition) -> Definition:
    """Iterate the other way on replay, as over a set under another hash seed."""

    def values(count: int) -> list[int]:
        return list(reversed(range(count)) if info().replaying else range(count))

    async def fan(width: int) -> int:
        return sum(await asyncio.gather(*(square(value) for value in values(width))))

    async def stamped(count: int) -> list[str]:
        return await asyncio.gather(*(stamp(value) for value in values(count)))

    codes: dict[str, Callable[..., Any]] = {"sim_fan": fan, "sim_stamped": stamped}
    return _with_code(definition, codes[definition.name]) if definition.name in codes else definition


def _build(name: str, change: Callable[[Definition], Definition], *, repeats: bool = True) -> Build:
    changed = {workflow_type: change(definition) for workflow_type, definition in DEFINITIONS.items()}
    return Build(name, Hosted(changed, declared_signals(), build=name), repeats)


USUAL = Build("usual", HOSTED)
NEXT = _build("next", _succeeding)
BROKEN = (
    _build("broken: requests more", _requests_more, repeats=False),
    _build("broken: requests otherwise", _requests_otherwise, repeats=False),
    _build("broken: ends early", _ends_early, repeats=False),
    _build("broken: another order", _in_another_order, repeats=False),
    _build("broken: has a bug", _meets_a_bug),
    _build("broken: runs on", _runs_on),
)
HOSTING = (
    USUAL,
    *(Build(f"usual with versions {found}", hosting(*found)) for found in ((1,), (2,), (1, 2), (2, 3))),
)
"""The usual code, with some versions of a type that has several."""

BUILDS = {build.name: build for build in (*HOSTING, NEXT, *BROKEN)}
