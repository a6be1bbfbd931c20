"""The example of an archive: each closed run once, on both logs, wherever the program is stopped."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from examples.archive import Archive
from penstock import Client, Signal, WorkflowFailedError, activity, continue_as_new, workflow
from penstock.client.recorded import runs_in_file
from penstock.engine.execution.comparison import compare
from penstock.hosting.engine import Engine
from penstock.schemas.errors import UserError
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect

WAIT_S = 60
POLLS_MAX = 200
go = Signal("archive-go", int)


@activity(name="archive-double")
async def double(number: int) -> int:
    """Double a number."""
    return 2 * number


@workflow(name="archived", closed_kept="1d")
async def archived(number: int) -> int:
    """Fail for 1, go on as another run for 2, wait for 9, else double."""
    if number == 1:
        raise WorkflowFailedError("one is refused")
    if number == 2:
        continue_as_new(archived(3))
    if number == 9:
        await go.wait()
    return await double(number)


async def produce(url: str, namespace: str) -> dict[str, list[dict[str, Any]]]:
    """Let five runs close, one of them reset, and one wait; returns the histories that processors keep, by run id."""
    async with Engine([archived, double], url, namespace=namespace) as engine, asyncio.timeout(WAIT_S):
        client: Client = engine.client
        for number in (1, 2, 5, 9):
            await client.start(archived(number), id=f"archived-{number}")
        for number in (2, 5):
            await client.result(f"archived-{number}")
        with pytest.raises(WorkflowFailedError):
            await client.result("archived-1")
        await client.reset("archived-5", to_event=1, reason="once more")
        await client.result("archived-5")
        ids = ("archived-1", "archived-2", "archived-5")
        return {(await client.describe(id))["run_id"]: await client.history(id) for id in ids}


def follow(url: str, namespace: str, file: Path, records_max: int | None = None) -> list[dict[str, Any]]:
    """Run the archive until it has read everything, or a part; returns its lines."""
    log = connect(url)
    archive = Archive(log, Topics(namespace), file)
    try:
        for _ in range(POLLS_MAX):
            ends = log.ends(list(archive.offsets()))
            if all(next_ >= ends[where][1] for where, next_ in archive.offsets().items()):
                break
            if archive.take() and records_max:
                break
            if all(not batch for where, next_ in archive.offsets().items() for batch in _left(log, where, next_)):
                break
        else:
            raise AssertionError(f"waited {POLLS_MAX} polls for the end of the topic")
        return [json.loads(line) for line in archive.lines()]
    finally:
        archive.close()
        log.close()


def _left(log: Any, where: tuple[str, int], start: int) -> Any:
    """Committed records that are not read yet; the end of a partition may be a control record."""
    return log.read_to_end(*where, start, WAIT_S)


def keep_once(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each closed run is in the file once, with the history that processors keep, and can be replayed; a program that
    stopped between two records, in the middle of a transaction, or before it told the group, changes nothing."""
    namespace, file = f"archive-{uuid.uuid4().hex[:8]}", folder / "archive.sqlite3"
    kept = asyncio.run(produce(url, namespace))
    monkeypatch.setattr("examples.archive.RECORDS_MAX", 3)
    follow(url, namespace, file, records_max=3)
    with monkeypatch.context() as patch:
        taken = []
        keep = Archive._keep

        def fails(self: Archive, decision: Any) -> None:
            keep(self, decision)
            taken.append(decision)
            if len(taken) == 2:
                raise UserError("the machine stops")

        patch.setattr(Archive, "_keep", fails)
        with pytest.raises(UserError, match="stops"):
            follow(url, namespace, file)
    lines = follow(url, namespace, file)
    assert follow(url, namespace, file) == lines, "a program that begins again adds nothing"
    closings = sorted((line["workflow_id"], line["events"][-1]["event"]) for line in lines)
    assert closings == [
        ("archived-1", "WorkflowFailed"),
        ("archived-2", "WorkflowCompleted"),
        ("archived-2", "WorkflowContinued"),
        ("archived-5", "WorkflowCompleted"),
        ("archived-5", "WorkflowCompleted"),
    ]
    for line in lines:
        assert line["events"] == kept.get(line["run_id"], line["events"])
    assert kept.keys() <= {line["run_id"] for line in lines}
    copied = folder / "runs.jsonl"
    copied.write_text("\n".join(json.dumps(line) for line in lines))
    for run in runs_in_file(copied):
        assert compare(archived, run.workflow_id, run.run_id, run.records).differences == ()


def test_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the embedded log, each closed run is archived once."""
    keep_once(f"embedded:{tmp_path}/log.sqlite3", tmp_path, monkeypatch)


def test_on_kafka(kafka_bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Kafka, each closed run is archived once."""
    keep_once(f"kafka://{kafka_bootstrap}", tmp_path, monkeypatch)
