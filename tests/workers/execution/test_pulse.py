"""Heartbeats of one attempt (workers/execution/pulse.py)."""

from __future__ import annotations

import asyncio

from penstock.workers.execution.pulse import Pulse


def pulsed(heartbeat_ms: int, *beats: tuple[float, bytes], until_s: float = 0.0) -> tuple[list[bytes], bytes]:
    """What is sent of these heartbeats, each after so many seconds, and what is left at the end."""

    async def main() -> tuple[list[bytes], bytes]:
        sent: list[bytes] = []
        pulse = Pulse(heartbeat_ms, asyncio.get_running_loop(), sent.append)
        for after_s, details in beats:
            await asyncio.sleep(after_s)
            await asyncio.to_thread(pulse.beat, details)
        await asyncio.sleep(until_s)
        return sent, pulse.end()

    return asyncio.run(main())


def test_the_first_heartbeat_is_sent_at_once() -> None:
    """The first heartbeat is sent when it is made; those that follow at once are kept back."""
    assert pulsed(60_000, (0, b"1"), (0, b"2"), (0, b"3")) == ([b"1"], b"3")


def test_the_last_one_of_an_interval_is_sent_at_its_end() -> None:
    """A heartbeat that came too early is sent with the details of the last one, although no other follows."""
    assert pulsed(100, (0, b"1"), (0, b"2"), (0, b"3"), until_s=0.5) == ([b"1", b"3"], b"")


def test_nothing_is_sent_after_the_end() -> None:
    """The end of an attempt keeps back what was not sent, for its failure."""

    async def main() -> tuple[list[bytes], bytes]:
        sent: list[bytes] = []
        pulse = Pulse(100, asyncio.get_running_loop(), sent.append)
        pulse.beat(b"1")
        pulse.beat(b"2")
        left = pulse.end()
        pulse.beat(b"3")
        await asyncio.sleep(0.3)
        return sent, left

    assert asyncio.run(main()) == ([b"1"], b"2")
