"""Workflows of the simulation, which use everything that workflow code may request, and their activities.

An activity's outcome follows from its input and the attempt, so that a plain model (scenarios.py) gives each run's
result. The activities are declared only: `perform` replaces a worker.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec

from penstock.engine.authoring.chain import continue_as_new
from penstock.engine.authoring.children import start_child
from penstock.engine.authoring.context import info, now, random, side_effect, uuid4
from penstock.engine.authoring.definition import WorkflowDefinition, registered_workflows
from penstock.engine.authoring.describing import details, set_search
from penstock.engine.authoring.external import get_run
from penstock.engine.authoring.handlers import Query, Update
from penstock.engine.authoring.publishing import publish
from penstock.engine.authoring.signal import Signal, declared_signals
from penstock.engine.authoring.versions import patched
from penstock.engine.authoring.waiting import sleep, wait_condition
from penstock.engine.authoring.workflow import workflow
from penstock.engine.core.hosted import Hosted
from penstock.engine.core.versions import WorkflowTypes
from penstock.patterns.saga import Saga
from penstock.schemas.errors import ActivityFailedError, ChildWorkflowFailed, WorkflowFailedError
from penstock.schemas.failure import Failure
from penstock.schemas.records.tasks import ActivityTask
from penstock.workers.activity.decorator import activity
from tests.simulation.publications import AUDIT

LATE_QUEUE = "sim-late"
QUEUES = ("default", "sim-other")
LEFT_MS = 20_000

tick = Signal("sim_tick", int)
go = Signal("sim_go", str)
put = Update("sim_put", int, int)
seen_so_far = Query("sim_seen", list[int])


# Activities. `perform` gives the outcome of an attempt.


@activity(name="sim_add")
def add(left: int, right: int) -> int: ...


@activity(name="sim_square", queue="sim-other")
def square(value: int) -> int: ...


@activity(name="sim_flaky", backoff=["200ms", "1s"], heartbeat="700ms")
def flaky(value: int, failures: int) -> int: ...


@activity(name="sim_refused")
def refused(value: int) -> int: ...


@activity(name="sim_tired", retries=2, backoff=["100ms"])
def tired(value: int) -> int: ...


@activity(name="sim_stamp")
def stamp(value: int) -> str: ...


@activity(name="sim_slow", queue="sim-other")
def slow(value: int) -> int: ...


@activity(name="sim_late_add", queue=LATE_QUEUE)
def late_add(left: int, right: int) -> int: ...


@activity(name="sim_book")
def book(place: str) -> str: ...


@activity(name="sim_unbook", backoff=["50ms"])
def unbook(place: str) -> None: ...


@activity(name="sim_once")
def once(value: int) -> int: ...


def perform(task: ActivityTask, execution: int) -> bytes | Failure:
    """Outcome of an execution of this attempt: the result as JSON, or its failure."""
    values = msgspec.json.decode(task.input)
    match task.activity:
        case "sim_add" | "sim_late_add":
            return msgspec.json.encode(values["left"] + values["right"])
        case "sim_square" | "sim_slow":
            return msgspec.json.encode(values * values)
        case "sim_flaky":
            if task.attempt <= values["failures"]:
                return Failure(type="builtins.OSError", message="not this time")
            return msgspec.json.encode(values["value"] * 2)
        case "sim_refused":
            return Failure(type="builtins.ValueError", message="never", non_retryable=True)
        case "sim_tired":
            return Failure(type="builtins.OSError", message="still not")
        case "sim_stamp":
            return msgspec.json.encode(f"{values}:{execution}")
        case "sim_once":
            if task.attempt == 1:
                return Failure(type="builtins.ValueError", message="not before it is mended", non_retryable=True)
            return msgspec.json.encode(values)
        case "sim_book":
            if values.startswith("full"):
                return Failure(type="builtins.LookupError", message="full", non_retryable=True)
            return msgspec.json.encode(f"booked {values}")
        case "sim_unbook":
            if values.startswith("sticky") and task.attempt == 1:
                return Failure(type="builtins.OSError", message="busy")
            return b"null"
    raise AssertionError(f"no such activity: {task.activity}")


# Workflows.


@workflow(name="sim_chain")
async def chain(steps: int) -> int:
    """One activity after the other, each told to a topic before and after it."""
    total = 0
    for step in range(steps):
        publish(AUDIT, key=info().workflow_id, value=total)
        total = await add(total, step)
    publish(AUDIT, key=info().workflow_id, deletes=True)
    return total


@workflow(name="sim_fan")
async def fan(width: int) -> int:
    """Activities side by side."""
    return sum(await asyncio.gather(*(square(value) for value in range(width))))


@workflow(name="sim_retrying")
async def retrying(value: int, failures: int) -> int:
    """An activity that fails a few times."""
    return await flaky(value, failures)


@workflow(name="sim_hopeless")
async def hopeless(value: int) -> list[int]:
    """Activities that fail for good, at once and after all their attempts."""
    attempts = []
    for call in (refused, tired):
        try:
            await call(value)
        except ActivityFailedError as error:
            attempts.append(error.attempts)
    return attempts


@workflow(name="sim_stamped")
async def stamped(count: int) -> list[str]:
    """Results that differ in each execution: the recorded ones must be those that the code received."""
    return await asyncio.gather(*(stamp(value) for value in range(count)))


@workflow(name="sim_napping")
async def napping(naps_ms: list[int]) -> bool:
    """Timers one after the other; true when none fired early."""
    began = now()
    for nap_ms in naps_ms:
        await sleep(nap_ms / 1000)
    return now() - began >= timedelta(milliseconds=sum(naps_ms))


@workflow(name="sim_racing")
async def racing(value: int, patience_ms: int) -> int:
    """An activity against a timer: its square, or -1 when it was too slow."""
    try:
        return await asyncio.wait_for(slow(value), patience_ms / 1000)
    except TimeoutError:
        return -1


@workflow(name="sim_approval")
async def approval(patience_ms: int) -> str:
    """A signal, waited for with a timeout."""
    try:
        return await go.wait(timeout=patience_ms / 1000)
    except TimeoutError:
        return "too late"


@workflow(name="sim_collector")
async def collector(count: int) -> list[int]:
    """A number of signals, in any order."""
    return sorted([await tick.wait() for _ in range(count)])


@workflow(name="sim_telling")
async def telling(listener: str, count: int) -> int:
    """Signals to another run, an activity between them."""
    for value in range(count):
        get_run(listener).signal(tick, value)
        await add(value, 1)
    return count


@workflow(name="sim_trip")
async def trip(places: list[str]) -> list[str]:
    """A saga: undone in reverse when one place is full, or when it is cancelled."""
    async with Saga() as saga:
        booked = []
        for place in places:
            booked.append(await saga.do(book(place), undo=unbook(place)))
        await sleep("5s")
        return booked


@workflow(name="sim_parallel_trip")
async def parallel_trip(places: list[str]) -> list[str]:
    """A saga whose steps run side by side."""
    async with Saga() as saga:
        return list(await asyncio.gather(*(saga.do(book(place), undo=unbook(place)) for place in places)))


@workflow(name="sim_parent")
async def parent(name: str, children: int, fails: bool) -> list[int]:
    """Children on other shards, one of which may fail."""
    calls = [chain(number + 1).options(id=f"{name}.child-{number}") for number in range(children)]
    results = list(await asyncio.gather(*calls))
    if fails:
        try:
            await failing(name).options(id=f"{name}.failing")
        except ChildWorkflowFailed:
            results.append(-1)
    return results


@workflow(name="sim_failing")
async def failing(why: str) -> int:
    """Fails its run, after an activity."""
    await add(1, 1)
    raise WorkflowFailedError(f"no: {why}")


@workflow(name="sim_sleeper")
async def sleeper(nap_ms: int) -> str:
    """Sleeps for long; to be cancelled or terminated."""
    await sleep(nap_ms / 1000)
    return "slept"


@workflow(name="sim_guardian")
async def guardian(name: str) -> str:
    """A parent that is cancelled or terminated while its child sleeps."""
    return await sleeper(600_000).options(id=f"{name}.sleeper")


@workflow(name="sim_shepherd")
async def shepherd(name: str, values: list[int], at_close: str) -> list[int]:
    """A child that is signalled by its handle, and one that is left when the run ends."""
    kid = await start_child(collector(len(values)), id=f"{name}.kid")
    await start_child(sleeper(LEFT_MS), id=f"{name}.left", parent_close=at_close or None)  # type: ignore[arg-type]
    for value in values:
        kid.signal(tick, value)
    return await kid.result()


@workflow(name="sim_homeless")
async def homeless(steps: int) -> int:
    """Activities on a queue whose topic comes late."""
    total = await add(0, 1)
    for step in range(steps):
        total = await late_add(total, step)
    return total


@workflow(name="sim_oracle")
async def oracle(sides: int) -> bool:
    """Everything that must repeat on replay."""
    thrown = random().randrange(sides)
    name = str(uuid4())
    kept = side_effect(lambda: sides * 2)
    total = 0

    async def count() -> None:
        nonlocal total
        total = await add(thrown, 1)

    task = asyncio.create_task(count())
    await wait_condition(lambda: total > 0)
    await task
    fresh = patched("sim-patch")
    began = now()
    await sleep(0.3)
    return fresh and kept == sides * 2 and total == thrown + 1 and len(name) == 36 and now() > began


@workflow(name="sim_bulky")
async def bulky(size: int) -> str:
    """A marker too large for a record: the run must be BLOCKED, and other runs unaffected."""
    await add(size, 0)
    return f"marked: {patched('x' * size)}"


@workflow(name="sim_heavy")
async def heavy(size: int) -> str:
    """A result that the engine accepts and this log's topic of completions refuses."""
    await add(size, 0)
    return "x" * size


@workflow(name="sim_named")
async def named(times: int) -> str:
    """Returns its run id: a workflow id may be used again."""
    for _ in range(times):
        await add(1, times)
    return info().run_id


@workflow(name="sim_headers")
async def headers() -> dict[str, str]:
    """Returns the headers of its start, as its code sees them."""
    await add(1, 1)
    return info().headers


@workflow(name="sim_headed")
async def headed() -> list[dict[str, str]]:
    """Returns its headers, read before and after a timer, and those of a child."""
    before = info().headers
    await sleep(0.2)
    return [before, info().headers, await headers()]


@workflow(name="sim_busy")
async def busy(nap_ms: int) -> str:
    """Activities, retries, a timer and children at the same time; to be replaced by another start."""
    async with asyncio.TaskGroup() as group:
        group.create_task(sleep(nap_ms / 1000))
        for value in range(3):
            group.create_task(flaky(value, value))
        group.create_task(slow(2))
        group.create_task(chain(2))
        group.create_task(sleeper(nap_ms))
    return info().run_id


@workflow(name="sim_relay")
async def relay(batch: int, left: int, seen: list[int]) -> list[int]:
    """Signals, so many a run; those that arrive meanwhile go along to the next run."""
    seen_so_far.answer(lambda: seen)
    for _ in range(min(batch, left)):
        seen.append(await tick.wait())
    await add(len(seen), 1)
    if left > batch:
        continue_as_new(relay(batch, left - batch, seen))
    return seen


@workflow(name="sim_steps")
async def steps(left: int, total: int) -> int:
    """A run a step; every second one continues without a wait."""
    total = await add(total, left) if left % 2 else total + left
    if left > 0:
        continue_as_new(steps(left - 1, total))
    return total


@workflow(name="sim_patron")
async def patron(left: int) -> int:
    """A parent of a child that continues as new."""
    return await steps(left, 0)


@workflow(name="sim_account")
class Account:
    """Values by signals and updates, until so many signals have come; handlers that began end before the run does."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.notes = wanted, 0
        self.entries: list[int] = []

    @workflow.run
    async def run(self) -> list[int]:
        """All entries."""
        await wait_condition(lambda: self.notes >= self.wanted)
        return self.entries

    @workflow.signal(name="sim_note")
    def note(self, value: int) -> None:
        """Add an entry."""
        self.notes += 1
        self.entries.append(value)

    @workflow.query(name="sim_entries")
    def read(self) -> list[int]:
        """All entries."""
        return self.entries

    @workflow.query(name="sim_rash")
    def rash(self) -> list[int]:
        """Break the rule that a query reads, and end with an error."""
        self.entries.append(-1)
        raise ValueError("it must not have been")

    @workflow.update(name="sim_enter")
    def enter(self, value: int) -> int:
        """Add an entry at once."""
        self.entries.append(value)
        return value * 2

    @workflow.update(name="sim_buy")
    async def buy(self, value: int) -> int:
        """Add an entry after an activity; every fifth value is sold out by then."""
        price = await add(value, 1)
        if value % 5 == 0:
            raise ValueError(f"{value} is sold out")
        self.entries.append(value)
        return price

    @buy.validator
    def _check(self, value: int) -> None:
        if value < 0:
            self.entries.append(value)  # must be undone
            raise ValueError("there are no negative values")


def _check_put(value: int) -> None:
    if value < 0:
        raise ValueError("there are no negative values")


@workflow(name="sim_ledger")
async def ledger(runs: int) -> list[int]:
    """Updates that wait until the last run of a chain registers its handler, and are taken until a signal comes."""
    await add(runs, 0)
    if runs > 0:
        await sleep(0.5)
        continue_as_new(ledger(runs - 1))
    entries: list[int] = []

    async def enter(value: int) -> int:
        if value % 2:
            await add(value, 2)
        if value % 5 == 0:
            raise ValueError(f"{value} is sold out")
        entries.append(value)
        return value * 3

    async with put.answer(enter, validator=_check_put):
        await go.wait()
    return entries


@workflow(name="sim_stubborn")
async def stubborn(failures: int) -> int:
    """Fails in the first runs of its chain, each time after an activity; returns the number of runs before it."""
    await add(failures, 1)
    before = info().chain_length
    if before < failures:
        raise WorkflowFailedError(f"{before} runs are not enough")
    return before


@workflow(name="sim_mended")
async def mended(value: int) -> int:
    """Activities of which one fails until its run is retried."""
    total = await add(value, 1)
    return total + await once(value)


@workflow(name="sim_verbose")
async def verbose(bursts: int, size: int) -> int:
    """So many events before each activity; perhaps more than a history may have."""
    total = 0
    for burst in range(bursts):
        for number in range(size):
            side_effect(lambda number=number: number)
        total = await add(total, burst)
    return total


@workflow(name="sim_described")
async def described(left: int) -> list[object]:
    """Says how far it is, in each run of its chain; returns its memo and its search attributes."""
    details({"left": left})
    set_search(left=left, stage="begun")
    await add(left, 1)
    set_search(stage="done", customer=None)
    details({"left": left, "done": True})
    if left > 0:
        continue_as_new(described(left - 1))
    return [info().memo, info().search]


DEFINITIONS: dict[str, WorkflowDefinition[..., object]] = {
    definition.name: definition
    for definition in (
        chain, fan, retrying, hopeless, stamped, napping, racing, approval, collector, telling, trip, parallel_trip,
        parent, failing, sleeper, guardian, shepherd, homeless, oracle, bulky, heavy, named,
        headers, headed, busy, relay, steps, patron, registered_workflows()["sim_account"], ledger,
        stubborn, mended, described, verbose,
    )
}  # fmt: skip


def _versioned(number: int) -> WorkflowDefinition[..., object]:
    """A version of the type `sim_versioned`, which says in its requests which one it is."""

    @workflow(name="sim_versioned", version=number)
    async def versioned(left: int, to: int) -> int:
        first = await add(number, left)
        await sleep(0.7)
        second = await add(number, 100 + left)
        if left:
            call = VERSIONED[number - 1](left=left - 1, to=0)
            continue_as_new(call.options(version=to) if to else call)
        return first + second

    return versioned


VERSIONED = tuple(_versioned(number) for number in (1, 2, 3))


def hosting(*versions: int) -> Hosted:
    """All workflows, with these versions of `sim_versioned`."""
    several = [VERSIONED[number - 1] for number in versions]
    return Hosted(WorkflowTypes([*DEFINITIONS.values(), *several]), declared_signals())


HOSTED = hosting(1, 2, 3)
