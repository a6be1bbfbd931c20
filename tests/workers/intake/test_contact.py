"""Contact with the group (workers/intake/contact.py)."""

from __future__ import annotations

import asyncio
import time

import pytest

from penstock.workers.activity.decorator import activity
from penstock.workers.intake import contact as module
from penstock.workers.intake.contact import Contact
from tests.workers.bench import Bench, until


def test_a_contact_is_fresh_for_the_session_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A contact is fresh until the group may have given the partitions away, and never before the first one."""
    now_s = [1_000.0]
    monkeypatch.setattr(module, "now_s", lambda: now_s[0])
    contact = Contact()
    assert not contact.fresh
    contact.note(8.0)
    now_s[0] += 7.9
    assert contact.fresh
    now_s[0] += 0.2
    assert not contact.fresh


def test_nothing_begins_after_a_freeze_before_the_group_is_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a gap longer than the session, waiting tasks begin only once the log names this worker as a member."""
    ahead_s = [0.0]
    monkeypatch.setattr(module, "now_s", lambda: time.monotonic() + ahead_s[0])
    release = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    ran: list[int] = []

    @activity
    async def work(number: int) -> int:
        ran.append(number)
        loops[:] = [asyncio.get_running_loop()]
        if number == 0:
            await release.wait()
        return number

    bench.put(*[bench.task(work, number) for number in range(20)])
    running = bench.worker(work, concurrency=1)
    (only,) = running._runtime._consumers  # type: ignore[union-attr]
    until(lambda: ran == [0] and only._capacity.tasks == 20, "one to run and the others to wait")
    answers = [frozenset[str]()]
    monkeypatch.setattr(only._log, "members", lambda group: answers[0] or bench.log._log.members(group), raising=False)
    answers[0] = frozenset({"another"})
    ahead_s[0] += 3_600
    loops[0].call_soon_threadsafe(release.set)
    time.sleep(0.5)
    assert ran == [0]
    answers[0] = frozenset()
    until(lambda: sorted(ran) == list(range(20)), "the others, once this worker is found to be a member")
