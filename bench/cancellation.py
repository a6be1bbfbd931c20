"""How soon a running sync activity in another process sees that its run was cancelled.

python -m bench.cancellation [kafka|embedded] [COUNT]     prints the median, the slowest and all times

Each of COUNT runs is cancelled by a client of this process; the activity, in a worker's process, sends heartbeats and
writes the time at which one of them raises. Both processes read the same clock.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

from bench.place import Place, embedded, kafka
from penstock import ActivityCancelled, Client, activity, heartbeat, workflow

COUNT = 20
WAIT_S = 60.0


@activity(name="bench-cancelled", heartbeat="10s")
def beats(folder: str, name: str) -> None:
    """Send heartbeats until one of them raises, and say when."""
    Path(folder, f"{name}.begun").touch()
    try:
        while True:
            heartbeat()
            time.sleep(0.005)
    except ActivityCancelled:
        partly = Path(folder, f"{name}.partly")
        partly.write_text(str(time.time()), "utf-8")
        partly.rename(Path(folder, f"{name}.cancelled"))
        raise


@workflow(name="bench-cancelled")
async def cancelled(folder: str, name: str) -> None:
    """Wait for the activity."""
    await beats(folder, name)


def main() -> None:
    """Measure on a log of its own."""
    which = sys.argv[1] if len(sys.argv) > 1 else "kafka"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else COUNT
    with (kafka if which == "kafka" else embedded)() as place:
        times_ms = _measured(place, count)
    shown = " ".join(f"{time_ms:.0f}" for time_ms in sorted(times_ms))
    print(f"{which}: median {statistics.median(times_ms):.0f} ms, slowest {max(times_ms):.0f} ms of {count}: {shown}")


def _measured(place: Place, count: int) -> list[float]:
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    settings = {"PENSTOCK_LOG": place.url, "PENSTOCK_NAMESPACE": namespace, "PENSTOCK_DATA": str(place.folder / "data")}
    environment = {**os.environ, **settings, "PYTHONHASHSEED": "0"}
    penstock, module = [sys.executable, "-m", "penstock"], "bench.cancellation"
    apply = [*penstock, "topics", "apply", module]
    subprocess.run(apply, env=environment, check=True, capture_output=True)
    children = []
    try:
        for part in ("processor", "worker"):
            with (place.folder / f"{part}.log").open("wb") as output:
                child = subprocess.Popen([*penstock, part, module], env=environment, stdout=output, stderr=output)
            children.append(child)
        return asyncio.run(_cancel_each(place, namespace, count))
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(WAIT_S)
        place.delete_topics(f"penstock.{namespace}.")


async def _cancel_each(place: Place, namespace: str, count: int) -> list[float]:
    found = []
    async with Client(place.url, namespace=namespace) as client:
        for number in range(count):
            name = f"run-{number}"
            run = await client.start(cancelled(str(place.folder), name), id=name)
            await _exists(place.folder / f"{name}.begun")
            began_s = time.time()
            await run.cancel()
            path = place.folder / f"{name}.cancelled"
            await _exists(path)
            found.append((float(path.read_text("utf-8")) - began_s) * 1_000)
    return found


async def _exists(path: Path) -> None:
    until_s = time.monotonic() + WAIT_S
    while not path.exists():
        assert time.monotonic() < until_s, f"waited {WAIT_S:g} s for {path.name}"
        await asyncio.sleep(0.002)


if __name__ == "__main__":
    main()
