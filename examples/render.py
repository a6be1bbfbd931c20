"""Render a clip by a job outside of Penstock, which completes its activity by a token.

penstock dev examples/render.py

and in another shell, in the same folder:

penstock start render --id clip-1 --input '{"clip": "intro", "frames": 100}' --wait

The activity starts the job, a process of its own here and a batch system elsewhere, hands it the token of the attempt,
and ends: no worker holds anything while the job runs. The job reports each frame by a heartbeat, and the result at
its end. A job that dies is silent for longer than `heartbeat`; then another attempt starts another job, which goes on
with the frame that was not reported.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from penstock import ActivityCancelled, CompleteLater, SyncClient, activity, activity_info, heartbeat_details, workflow

FRAME_S = 0.02
DIED = 70


@dataclass
class Clip:
    """What to render. `dies_at`: the frame at which the first job dies, to see what follows; 0: none."""

    clip: str
    frames: int
    dies_at: int = 0


@activity(timeout="1h", heartbeat="10s", backoff=["100ms"], retries=3)
def start_job(clip: Clip) -> int:
    """Start a job for the frames that are missing; it completes this activity with the number of frames."""
    info = activity_info()
    dies_at = clip.dies_at if info.attempt == 1 else 0
    first = heartbeat_details(int, 0) + 1
    job = [sys.executable, str(Path(__file__)), info.token, str(first), str(clip.frames), str(dies_at)]
    subprocess.Popen(job, start_new_session=True)  # has the environment, and with it the settings, of the worker
    raise CompleteLater


@workflow
async def render(clip: Clip) -> str:
    """Render a clip."""
    return f"{clip.clip}: {await start_job(clip)} frames"


def job(token: str, first: int, frames: int, dies_at: int) -> None:
    """Render the frames from `first` on, outside of any worker."""
    with SyncClient() as client:
        for frame in range(first, frames + 1):
            if frame == dies_at:
                os._exit(DIED)
            time.sleep(FRAME_S)
            try:
                client.heartbeat(token, frame)
            except ActivityCancelled:
                return  # no run waits for the clip any more
        client.complete(token, frames)


if __name__ == "__main__":
    job(sys.argv[1], *map(int, sys.argv[2:]))
