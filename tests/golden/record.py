"""Recording of golden histories: `python -m tests.golden.record` adds those of the present release that are missing.

A file for each story, a line for each run: its ids, its events as `penstock history` prints them, and its decisions as
they are on the topic `events`, in hexadecimal. Files of a release are never changed. While the present version is not
released, its records may change: files that can no longer be read are recorded anew."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from penstock import __version__
from penstock.client.recorded import RecordedRun, runs_in_log
from penstock.engine.runtime.reads import events_of
from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.errors import UnknownSchema
from penstock.schemas.ids import SCHEDULE_PREFIX
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.testing import TestEngine
from penstock.topics.catalogue import Topics
from tests.golden import flows
from tests.golden.stories import STORIES, Story

ROOT = Path(__file__).resolve().parents[2]
PLACES = {f"{ROOT}/": "", f"{sys.prefix}/": "", f"{sys.base_prefix}/": "", socket.gethostname(): "host"}
FOLDER = Path(__file__).parent / "histories"


async def runs_of(story: Story) -> list[RecordedRun]:
    """The runs of a story, played on an engine in memory."""
    async with TestEngine(flows) as engine:
        await story(engine)
        log: Any = engine._log
        return [run for run in runs_in_log(log, Topics()) if not run.workflow_id.startswith(SCHEDULE_PREFIX)]


def line_of(run: RecordedRun) -> bytes:
    """A run as a line of a file."""
    decisions = [encode(_placeless(record)) for record in run.records]
    return msgspec.json.encode(
        {
            "workflow_id": run.workflow_id,
            "run_id": run.run_id,
            "decisions": [data.hex() for data in decisions],
            "events": [event for data in decisions for event in events_of(data)],
        }
    )


def _placeless(record: DecisionRecorded) -> DecisionRecorded:
    """A record without the folders and the host's name of this machine, which tracebacks and workers have."""
    events = [_replaced(decode(event)) for event in record.events]
    return msgspec.structs.replace(record, events=tuple(map(encode, events)))


def _replaced(value: Any) -> Any:
    for found, name in PLACES.items():
        if isinstance(value, str):
            value = value.replace(found, name)
        elif isinstance(value, bytes):
            value = value.replace(found.encode(), name.encode())
    if isinstance(value, msgspec.Struct):
        return type(value)(**{name: _replaced(getattr(value, name)) for name in value.__struct_fields__})
    return value


def missing() -> Iterator[tuple[Story, Path]]:
    """The stories that the present release lacks, or has in records that are no longer known, and their files."""
    for story in STORIES:
        path = FOLDER / __version__ / f"{story.__name__}.jsonl"
        if not (path.exists() and _is_readable(path)):
            yield story, path


def _is_readable(path: Path) -> bool:
    """Whether the records of a file, and their events, have schemas that are known."""
    try:
        for line in path.read_bytes().splitlines():
            for data in msgspec.json.decode(line)["decisions"]:
                events_of(bytes.fromhex(data))
    except UnknownSchema:
        return False
    return True


def main() -> int:
    """Record what is missing; returns the exit code."""
    for story, path in missing():
        runs = asyncio.run(runs_of(story))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(line_of(run) + b"\n" for run in runs))
        print(f"recorded {len(runs)} runs in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
