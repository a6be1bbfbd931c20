"""Plugin of pytest: the fixture `penstock_engine`.

    async def test_an_order(penstock_engine):
        penstock_engine.mock(charge, "paid")
        assert await penstock_engine.client.execute(fulfil(order), id="order-1") == …

A test that is a coroutine function runs inside of the engine's block; no other plugin is needed for it. The engine
hosts the workflows and activities of the test's module and of the modules that it imports them from, or those that
`@pytest.mark.penstock(fulfil, charge, auto_skip=False)` names, with the options of TestEngine. A failure shows the
histories of all runs.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from penstock.testing.engine import TestEngine

FIXTURE = "penstock_engine"
MARKER = "penstock"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", f"{MARKER}(*hosted, auto_skip=…): what the fixture {FIXTURE} hosts, and how")


@pytest.fixture
def penstock_engine(request: pytest.FixtureRequest) -> TestEngine:
    """A TestEngine, open in tests that are coroutine functions; elsewhere write `async with penstock_engine:`."""
    from penstock.testing.engine import TestEngine

    marker = request.node.get_closest_marker(MARKER)
    hosted = list(marker.args) if marker is not None else []
    return TestEngine(*(hosted or _definitions_of(request.module)), **(marker.kwargs if marker is not None else {}))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function that takes the fixture."""
    engine: Any = pyfuncitem.funcargs.get(FIXTURE)
    if engine is None or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: value for name, value in pyfuncitem.funcargs.items() if name in names}
    asyncio.run(_inside(engine, pyfuncitem.obj, arguments))
    return True


async def _inside(
    engine: TestEngine, test: Callable[..., Coroutine[Any, Any, None]], arguments: dict[str, Any]
) -> None:
    async with engine:
        await test(**arguments)


def _definitions_of(module: ModuleType) -> list[Any]:
    """The workflows and activities of a test's module, and of the modules that define those that it imports."""
    modules = {module.__name__: module}
    for found in [*_definitions_in(module)]:
        origin = sys.modules.get(found.fn.__module__)
        if origin is not None:
            modules[origin.__name__] = origin
    return list({id(found): found for one in modules.values() for found in _definitions_in(one)}.values())


def _definitions_in(module: ModuleType) -> Iterator[Any]:
    from penstock.engine.authoring.class_form import definition_of
    from penstock.engine.authoring.definition import WorkflowDefinition
    from penstock.workers.activity.decorator import ActivityDefinition

    for value in vars(module).values():
        if isinstance(value, WorkflowDefinition | ActivityDefinition):
            yield value
        elif isinstance(value, type) and (definition := definition_of(value)) is not None:
            yield definition
        elif isinstance(value, ModuleType) and value.__name__ != module.__name__:
            own = [one for one in vars(value).values() if isinstance(one, WorkflowDefinition | ActivityDefinition)]
            yield from (one for one in own if one.fn.__module__ == value.__name__)
