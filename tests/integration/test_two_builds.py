"""Two builds of Penstock and of an application side by side, on both logs: rolled forward, back and forward again.

The newer build is a copy of this tree with feature level 2: a new event, and a new field of an event. Its application
has a workflow and an activity more.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock.client.client import Client
from penstock.hosting.supervisor import EXIT_USAGE
from penstock.schemas.errors import PenstockError
from penstock.topics.members import Timing
from penstock.topics.partitioner import partition_of

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0
LOAD_PAUSE_S = 0.1
AT_ONCE = 20
SHARDS = 2
EXPIRES_S = Timing().expires_s + 5.0

OLD = """
from penstock import Signal, activity, workflow

go = Signal("two-builds-go", int)

@activity(name="two-builds-step", retries=2)
def step(number: int) -> int:
    return number + 1

@workflow(name="two-builds-common")
async def common(number: int) -> int:
    return await step(number)
"""

NEW = (
    OLD
    + """
@activity(name="two-builds-extra", retries=2, queue="two-builds-fresh")
def extra(number: int) -> int:
    return number + 2

@workflow(name="two-builds-new")
async def new(number: int) -> int:
    return await extra(await step(number))

@workflow(name="two-builds-open")
async def stays_open(number: int) -> int:
    return await extra(await go.wait())
"""
)

RECORDS, MACHINE = "schemas/records/run.py", "engine/core/machines/run.py"
MOOD_NOTED = '''

class MoodNoted(Event, frozen=True, gc=False, kw_only=True):
    """A new event."""

    SINCE: ClassVar[int] = 2

    mood: str
'''
NOTED = """events=[*inputs, *([MoodNoted(mood="new")] if run.hosted.level >= 2 else []), *requests],"""
# The newer build: file, a line or part of one that occurs once in it, and what takes its place.
EDITS = (
    ("schemas/values/levels.py", "\nLEVEL = 1\n", "\nLEVEL = 2\n"),
    (RECORDS, '    previous_run_id: str = ""\n', '    mood: str = ""\n    previous_run_id: str = ""\n'),
    (
        RECORDS,
        "    message_id: str\n    seed: str\n",
        "    SINCE: ClassVar[int] = 2\n    message_id: str\n    seed: str\n",
    ),
    (MACHINE, "    InputIgnored,\n", "    InputIgnored,\n    MoodNoted,\n"),
    (MACHINE, "InputIgnored: EventRule(),", "InputIgnored: EventRule(), MoodNoted: EventRule(),"),
    (MACHINE, "flags=FLAGS,", 'flags=FLAGS, mood="new" if run.hosted.level >= 2 else "",'),
    (MACHINE, "events=[*inputs, *requests],", NOTED),
)


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the newer build."""
    tree = tmp_path_factory.mktemp("newer")
    for folder in ("penstock", "engine", "topics", "schemas", "workers", "tools"):
        shutil.copytree(ROOT / folder, tree / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text, instead in EDITS:
        path = tree / name
        content = path.read_text(encoding="utf-8")
        assert content.count(text) == 1, (name, text)
        path.write_text(content.replace(text, instead), encoding="utf-8")
    with (tree / RECORDS).open("a", encoding="utf-8") as records:
        records.write(MOOD_NOTED)
    avro = tree / "schemas" / "avro"
    shutil.copy(avro / "WorkflowStarted.avsc", avro / "WorkflowStarted.1.avsc")
    made = subprocess.run(
        [sys.executable, "-m", "tools.avro"], cwd=tree, env=environment(tree), timeout=WAIT_S, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert made.stdout.split() == ["wrote", "WorkflowStarted.avsc", "wrote", "MoodNoted.avsc"]
    return tree


def environment(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"}


class Place(NamedTuple):
    """Where both builds run: a namespace on a log."""

    folder: Path
    url: str
    namespace: str

    @property
    def is_kafka(self) -> bool:
        return self.url.startswith("kafka:")


@pytest.fixture(params=["embedded", "kafka"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A namespace of the test's own."""
    if request.param == "embedded":
        return Place(tmp_path, f"embedded:{tmp_path}/log", "default")
    return Place(tmp_path, f"kafka://{request.getfixturevalue('kafka_bootstrap')}", f"builds-{uuid.uuid4().hex[:10]}")


class Build:
    """One build: its processes, started as on a command line in the place's folder."""

    def __init__(self, place: Place, tree: Path, module: str) -> None:
        self.place, self.folder, self.tree, self.module = place, place.folder, tree, module
        self.children: list[subprocess.Popen[bytes]] = []

    def command(self, *words: str) -> list[str]:
        place = self.place
        return [sys.executable, "-m", "penstock", *words, "--log", place.url, "--namespace", place.namespace]

    async def typed(self, *words: str, code: int = 0) -> str:
        """Run a verb to its end; returns its output."""
        run = await asyncio.to_thread(
            subprocess.run, self.command(*words), cwd=self.folder, env=environment(self.tree), timeout=WAIT_S,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == code, (words, run.stdout, run.stderr)
        return run.stdout + run.stderr

    async def start(self, verb: str) -> subprocess.Popen[bytes]:
        """Start a processor or worker; returns when it works."""
        log = self.log_of(len(self.children))
        data = ("--data", str(self.folder / self.module)) if verb == "processor" else ()
        with log.open("w") as stderr:
            child = subprocess.Popen(  # noqa: ASYNC220 - it takes milliseconds
                self.command(verb, f"{self.module}.py", *data),
                cwd=self.folder,
                env=environment(self.tree),
                stderr=stderr,
            )
        self.children.append(child)
        line = "shards granted" if verb == "processor" else "worker started"
        await until(f"{verb} of {self.module}", lambda: is_in(log, line, child))
        return child

    def log_of(self, number: int) -> Path:
        """The log of the process that was started as this one."""
        return self.folder / f"{self.module}-{number}.err"

    def kill(self) -> None:
        """End all processes that still run."""
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()


async def is_in(log: Path, text: str, child: subprocess.Popen[bytes]) -> bool:
    assert child.poll() is None, log.read_text()
    return text in log.read_text()


async def stop(child: subprocess.Popen[bytes]) -> None:
    """End a process in order."""
    child.terminate()
    assert await asyncio.to_thread(child.wait, WAIT_S) == 0


async def until(what: str, condition: Callable[[], Awaitable[Any]]) -> None:
    last: Any = None
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                with suppress(PenstockError):
                    last = await condition()
                if last:
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"waited {WAIT_S} s for {what}; last: {last}") from None


class Load:
    """Starts of the types in `types`, again and again, from one client; `refused`: what a start or result raised."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.types = ["two-builds-common"]
        self.started: dict[str, str] = {}
        self.refused: list[str] = []

    async def run(self) -> None:
        number = 0
        while True:
            for type_ in list(self.types):
                number += 1
                id = f"{type_}-{number}"
                try:
                    await self._client.start_by_name(type_, str(number).encode(), id)
                    self.started[id] = type_
                except PenstockError as error:
                    self.refused.append(f"{id}: {error}")
            await asyncio.sleep(LOAD_PAUSE_S)


@pytest.mark.timeout(400)
def test_rolled_forward_and_back_under_load(place: Place, newer: Path) -> None:
    """No start is refused, no run BLOCKED and no attempt used up while a build with a new record, type and activity is
    rolled forward, back and forward again; the new record is written after the level was raised, and no earlier."""
    (place.folder / "older_app.py").write_text(OLD)
    (place.folder / "newer_app.py").write_text(NEW)
    old, new = Build(place, ROOT, "older_app"), Build(place, newer, "newer_app")
    try:
        asyncio.run(asyncio.wait_for(_roll(old, new), 300))
    finally:
        old.kill()
        new.kill()


async def _roll(old: Build, new: Build) -> None:
    await old.typed("topics", "apply", "newer_app.py", "--shards", str(SHARDS))
    old_worker, old_processor = await old.start("worker"), await old.start("processor")
    async with Client(old.place.url, namespace=old.place.namespace) as client:
        load = Load(client)
        loading = asyncio.create_task(load.run())
        # Forward: with the first newer processor, starts of the new types are accepted on all shards.
        new_worker, new_processor = await new.start("worker"), await new.start("processor")
        load.types += ["two-builds-new", "two-builds-open"]
        await until("a run to wait", lambda: client.list(status="waiting"))
        await until("open runs on each shard", lambda: _has_open_runs_everywhere(load))
        await stop(old_processor)
        await until("no run to wait", lambda: none(client.list(status="waiting")))
        # Back: runs of the new types begin no more, and those that are open have nothing to do.
        load.types = ["two-builds-common"]
        await until("the new runs to end", lambda: none(client.list(type="two-builds-new", status="running")))
        old_processor = await old.start("processor")
        await stop(new_processor)
        await asyncio.sleep(2)
        # Forward again: what the older build does not host waits, and goes on.
        new_processor = await new.start("processor")
        load.types.append("two-builds-new")
        await _signal(client, load)
        await until("an open run to wait", lambda: client.list(type="two-builds-open", status="waiting"))
        await stop(old_processor)
        await until("no run to wait", lambda: none(client.list(status="waiting")))
        assert "MoodNoted" not in await _events(client, load)
        # The level: as long as a process does not know it, it cannot be raised; afterwards that process is refused.
        assert "level 2 is not known to" in await new.typed("namespace", "raise", "--to", "2", code=2)
        await stop(old_worker)
        frozen = await _freeze(old) if old.place.is_kafka else None
        await new.typed("namespace", "raise", "--to", "2")
        assert "feature level 2" in await old.typed("processor", "older_app.py", code=2)
        await until("the new record", lambda: _is_noted(client, load))
        if frozen is not None:
            await _wakes_and_leaves(old, frozen)
        loading.cancel()
        await _check(client, load)
        await stop(new_processor)
        await stop(new_worker)
    assert await new.typed("dead-letters", "list", "--output", "json") == "[]\n"


async def _freeze(old: Build) -> subprocess.Popen[bytes]:
    """Let a processor of the older build take shards and freeze, until the others take it for dead.

    Not on the embedded log, whose lock it could hold then."""
    frozen = await old.start("processor")
    frozen.send_signal(signal.SIGSTOP)
    await asyncio.sleep(EXPIRES_S)
    return frozen


async def _wakes_and_leaves(old: Build, frozen: subprocess.Popen[bytes]) -> None:
    """It wakes in a namespace that has outgrown it: it ends with the remedy, and has decided nothing."""
    frozen.send_signal(signal.SIGCONT)
    assert await asyncio.to_thread(frozen.wait, WAIT_S) == EXIT_USAGE
    said = old.log_of(len(old.children) - 1).read_text()
    assert "feature level 2 and this build knows levels up to 1" in said, said
    assert "run blocked" not in said, said


async def none(found: Awaitable[list[Any]]) -> bool:
    return not await found


async def _has_open_runs_everywhere(load: Load) -> bool:
    """Whether each shard has runs that wait for a signal: whichever shard the older build keeps, some wait there."""
    ids = [id for id, type_ in load.started.items() if type_ == "two-builds-open"]
    return {partition_of(id, SHARDS) for id in ids} == set(range(SHARDS))


async def _signal(client: Client, load: Load) -> None:
    """Let the open runs go on."""
    for id, type_ in list(load.started.items()):
        if type_ == "two-builds-open":
            await client.signal(id, "two-builds-go", int(id.rpartition("-")[2]) + 1)


async def _is_noted(client: Client, load: Load) -> bool:
    events = await client.history(list(load.started)[-1])
    return "MoodNoted" in [event["event"] for event in events]


async def _events(client: Client, load: Load) -> set[str]:
    """The names of all events, and the reason of each that blocked a run."""
    histories = await _of_all(load, client.history)
    events = [event for history in histories for event in history]
    return {event["event"] for event in events} | {event["reason"] for event in events if "Blocked" in event["event"]}


async def _check(client: Client, load: Load) -> None:
    """All starts were accepted, all runs complete, no attempt failed, and only missing code made runs wait."""
    assert load.refused == []
    results = await _of_all(load, lambda name: client.result(name, timeout=WAIT_S))
    for (id, type_), result in zip(load.started.items(), results, strict=True):
        assert result == int(id.rpartition("-")[2]) + (1 if type_ == "two-builds-common" else 3), id
    events = await _events(client, load)
    assert "unhosted_type" in events
    assert events.isdisjoint({"unknown_type", "ActivityAttemptFailed", "ActivityFailed", "WorkflowFailed"})


async def _of_all(load: Load, read: Callable[[str], Awaitable[Any]]) -> list[Any]:
    """What `read` returns for each run, at most AT_ONCE of them at a time."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(id: str) -> Any:
        async with slots:
            return await read(id)

    return await asyncio.gather(*(one(id) for id in list(load.started)))
