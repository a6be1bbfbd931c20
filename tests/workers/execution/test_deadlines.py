"""Timeouts of running attempts (workers/execution/deadlines.py)."""

from __future__ import annotations

import asyncio
from functools import partial

from penstock.workers.execution.deadlines import Deadlines


def test_callbacks_are_called_in_order_of_their_time() -> None:
    """Each callback is called once, shorter timeouts first, those of one timeout in the order of their start."""
    called: list[str] = []

    async def main() -> None:
        deadlines = Deadlines()
        for name, timeout_ms in (("slow", 80), ("a", 20), ("b", 20), ("c", 40)):
            deadlines.add(timeout_ms, partial(called.append, name))
        await asyncio.sleep(0.3)

    asyncio.run(main())
    assert called == ["a", "b", "c", "slow"]


def test_a_removed_callback_is_never_called() -> None:
    """A removed callback is not called; removing it twice, or one that was never added, is no error."""
    called: list[str] = []

    async def main() -> None:
        deadlines = Deadlines()
        kept, removed = partial(called.append, "kept"), partial(called.append, "removed")
        deadlines.add(10, removed)
        deadlines.add(10, kept)
        deadlines.remove(10, removed)
        deadlines.remove(10, removed)
        deadlines.remove(99, removed)
        await asyncio.sleep(0.1)

    asyncio.run(main())
    assert called == ["kept"]


def test_a_timeout_can_be_used_again_after_all_its_callbacks_ended() -> None:
    """A timeout that is used again after all its callbacks ended is not called early, and is called."""
    called: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines()
        first = partial(called.append, -1.0)
        deadlines.add(50, first)
        deadlines.remove(50, first)
        await asyncio.sleep(0.03)
        started_s = loop.time()
        deadlines.add(50, lambda: called.append(loop.time() - started_s))
        await asyncio.sleep(0.2)
        deadlines.add(50, lambda: called.append(0.0))
        await asyncio.sleep(0.2)

    asyncio.run(main())
    assert called[0] >= 0.05
    assert called[1:] == [0.0]


def test_a_callback_may_add_another() -> None:
    """A callback may add the next one with the same timeout."""
    called: list[int] = []

    async def main() -> None:
        deadlines = Deadlines()

        def again() -> None:
            called.append(len(called))
            if len(called) < 3:
                deadlines.add(10, lambda: again())

        deadlines.add(10, again)
        await asyncio.sleep(0.2)

    asyncio.run(main())
    assert called == [0, 1, 2]
