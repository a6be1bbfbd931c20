"""Does a client say what it is told to, hear the answers, and tell clearly when none comes?"""

import asyncio
import time
import uuid

import msgspec
import pytest

from penstock.client import client as client_module
from penstock.client.client import Client
from penstock.config import Settings
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.schemas.errors import (
    BadInput,
    BadName,
    LogUnavailable,
    NotAnswered,
    PayloadTooLarge,
    StillRunning,
    UnknownTopic,
    UserError,
    WorkflowFailed,
    WorkflowNotFound,
)
from penstock.schemas.records.replies import Accepted, Rejected, RunClosed
from penstock.schemas.records.run import AwaitResult, CancelWorkflow, RetryWorkflow, StartWorkflow, TerminateWorkflow
from penstock.schemas.records.signal import SignalWorkflow
from penstock.schemas.values.failure import Failure
from penstock.topics.embedded import MEMORY, EmbeddedLog
from penstock.topics.partitioner import partition_of
from penstock.workers.activity.decorator import activity
from tests.penstock.conftest import SHARDS

SETTINGS = Settings(log="embedded::memory:", namespace="trial")


class Parcel(msgspec.Struct):
    weight: float


@workflow(name="client-trial")
async def parcel_of(order: str, weight: float) -> Parcel:
    return Parcel(weight)


@activity(name="client-trial-activity")
def an_activity() -> None: ...


approval = Signal("client-trial-approval", Parcel)


def accepted(command, **facts):
    return Accepted(
        message_id=command.message_id,
        workflow_id=command.workflow_id,
        run_id=getattr(command, "run_id", "") or command.message_id,
        **facts,
    )


def closed(command, status="completed", result=b"null", failure=None):
    return RunClosed(
        message_id=command.message_id, workflow_id=command.workflow_id, run_id="r", status=status, result=result,
        failure=failure,
    )  # fmt: skip


def rejected(command, reason="not_found", message="no."):
    return Rejected(message_id=command.message_id, workflow_id=command.workflow_id, reason=reason, message=message)


def agreeable(command):
    """Accepts every order; every run has weighed its parcel."""
    if isinstance(command, AwaitResult):
        return [closed(command, result=b'{"weight":2.5}')]
    return [accepted(command)]


def with_client(log, use):
    async def run():
        async with Client(log=log, settings=SETTINGS) as client:
            return await asyncio.wait_for(use(client), 20)

    return asyncio.run(run())


def test_start_and_result(log, processor):
    """A start carries type, input, id and a UUIDv7 to the id's shard, and the result comes back as its type."""

    async def use(client):
        run = await client.start(parcel_of("a", weight=2.5), id="order-7")
        return run, await run.result(timeout=10)

    with processor(agreeable) as fake:
        run, result = with_client(log, use)
    assert result == Parcel(2.5)
    shard, start = fake.commands[0]
    assert isinstance(start, StartWorkflow)
    assert shard == partition_of("order-7", SHARDS)
    assert (start.workflow_id, start.workflow_type, start.on_existing) == ("order-7", "client-trial", "use_existing")
    assert msgspec.json.decode(start.input) == {"order": "a", "weight": 2.5}
    assert uuid.UUID(start.message_id).version == 7
    assert (run.id, run.run_id, run.existing) == ("order-7", start.message_id, False)
    assert fake.commands[1][1].run_id == run.run_id


def test_ids_of_starts(log, processor):
    """The id is the one told, else the call's own, else a random one."""

    async def use(client):
        return [
            (await client.start(parcel_of("a", 1).options(id="x"), id="y")).id,
            (await client.start(parcel_of("a", 1).options(id="x"))).id,
            (await client.start(parcel_of("a", 1))).id,
            (await client.start(parcel_of("a", 1))).id,
        ]

    with processor(agreeable):
        told, own, *random = with_client(log, use)
    assert (told, own) == ("y", "x")
    assert len({*random, told, own}) == 4


def test_joining(log, processor):
    """A start that found its run already there says so."""

    async def use(client):
        return await client.start(parcel_of("a", 1), id="x")

    with processor(lambda command: [accepted(command, existing=True)]):
        assert with_client(log, use).existing


def test_orders(log, processor):
    """Each verb is its command, to the run that the handle knows."""

    async def use(client):
        run = await client.start(parcel_of("a", 1), id="x")
        await run.signal(approval, Parcel(3.5))
        await run.signal("by-name", {"a": [1]})
        await run.cancel("enough")
        await run.terminate("now")
        await client.retry("x")
        return run.run_id

    with processor(agreeable) as fake:
        run_id = with_client(log, use)
    _, signal, by_name, cancel, terminate, retry = (command for _, command in fake.commands)
    assert isinstance(signal, SignalWorkflow)
    assert (signal.signal, signal.input, signal.run_id) == ("client-trial-approval", b'{"weight":3.5}', run_id)
    assert (by_name.signal, by_name.input) == ("by-name", b'{"a":[1]}')
    assert isinstance(cancel, CancelWorkflow)
    assert (cancel.reason, cancel.run_id) == ("enough", run_id)
    assert isinstance(terminate, TerminateWorkflow)
    assert isinstance(retry, RetryWorkflow)
    assert retry.run_id == ""
    assert len({command.message_id for _, command in fake.commands}) == 6


def test_refusals(log, processor):
    """A refused order raises the error of its reason with the processor's own sentence."""
    with processor(lambda command: [rejected(command, message="There is no run with the id x.")]):
        for use in (lambda client: client.cancel("x"), lambda client: client.result("x")):
            with pytest.raises(WorkflowNotFound, match="There is no run with the id x"):
                with_client(log, use)


def test_a_failed_run(log, processor):
    """result() of a failed run raises its failure, readable."""

    def answer(command):
        return [closed(command, "failed", failure=Failure(type="bank.CardDeclined", message="no funds"))]

    with processor(answer), pytest.raises(WorkflowFailed, match="x failed: CardDeclined: no funds"):
        with_client(log, lambda client: client.result("x"))


def test_a_result_that_does_not_fit(log, processor):
    """A result of another shape is refused as bad input, not handed over."""
    with processor(agreeable), pytest.raises(BadInput):
        with_client(log, lambda client: client.get("x", returns=int).result())


def test_nobody_answers(log, monkeypatch):
    """Without a processor, a start says that its command stands in the log and what must run; it is a TimeoutError."""
    monkeypatch.setattr(client_module, "ANSWER_TIMEOUT_S", 0.3)
    with pytest.raises(NotAnswered, match=r"within 0.3 s.*is in the log.*namespace trial") as raised:
        with_client(log, lambda client: client.start(parcel_of("a", 1), id="x"))
    assert isinstance(raised.value, TimeoutError)
    topic = "penstock.trial.commands"
    ends = log.ends([(topic, shard) for shard in range(SHARDS)])
    assert sum(end for _, end in ends.values()) == 1


def test_a_start_with_a_timeout(log):
    """A start waits for its answer as long as it is told, and many starts as long together."""

    async def use(client):
        with pytest.raises(NotAnswered, match=r"within 0.2 s"):
            await client.start(parcel_of("a", 1), id="x", timeout="200ms")
        with pytest.raises(NotAnswered, match=r"within 0.2 s"):
            await client.start_by_name("parcel_of", timeout=0.2)
        starts = [("parcel_of", b"null", f"m{number}") for number in range(3)]
        return [one.error async for one in client.start_many(starts, in_flight=1, timeout="200ms")]

    began_s = time.monotonic()
    errors = with_client(log, use)
    assert time.monotonic() - began_s < 5
    assert [type(error) for error in errors] == [NotAnswered] * 3


def test_a_run_that_goes_on(log, processor):
    """result() with a timeout raises a TimeoutError that says that the run goes on."""

    async def use(client):
        client.reads.is_served = served
        await client.result("x", timeout="300ms")

    async def served(_, *, here, attempts):
        return True

    with processor(lambda command: []), pytest.raises(StillRunning, match="stays open") as raised:
        with_client(log, use)
    assert isinstance(raised.value, TimeoutError)


def test_a_run_that_nobody_has(log):
    """result() with a timeout claims nothing about the run where no processor answers, and says what helps."""
    with pytest.raises(StillRunning, match=r"not known whether x closed: .*start `penstock dev"):
        with_client(log, lambda client: client.result("x", timeout="300ms"))


def test_a_run_that_cannot_be_looked_for(log, monkeypatch):
    """A look that nobody answers does not make result() much later than its timeout, nor claim anything."""
    monkeypatch.setattr(client_module, "LOOK_TIMEOUT_S", 0.2)

    async def use(client):
        client.reads.is_served = hangs
        with pytest.raises(StillRunning, match=r"not known whether x closed: is the log away\?"):
            await client.result("x", timeout="300ms")

    async def hangs(_, *, here, attempts=0):
        await asyncio.sleep(60)

    with_client(log, use)


def test_a_signal_with_a_note(log, processor):
    """What a processor notes about a signal reaches who sent it."""
    told = []

    async def use(client):
        client.exchange.silence.tell = told.append
        await client.signal("x", "aproval", 1)

    def answer(command):
        return [Accepted(message_id=command.message_id, workflow_id="x", run_id="r", note="nobody declares it")]

    with processor(answer):
        with_client(log, use)
    assert told == ["x has the signal, but nobody declares it."]


def test_asking_again(log, processor, monkeypatch):
    """A long wait asks again under a new message id, so that replies may expire meanwhile."""
    monkeypatch.setattr(client_module, "ASK_AGAIN_S", 0.2)
    asked = []

    def answer(command):
        asked.append(command.message_id)
        return [closed(command, result=b"1")] if len(asked) == 3 else []

    with processor(answer):
        assert with_client(log, lambda client: client.result("x")) == 1
    assert len(set(asked)) == 3


def test_replies_to_others(log, processor):
    """Replies to other clients, second replies and bytes that are no reply are passed over."""

    def answer(command):
        other = msgspec.structs.replace(accepted(command), message_id="somebody else's", run_id="wrong")
        return [other, accepted(command), msgspec.structs.replace(accepted(command), run_id="too late")]

    async def use(client):
        first = await client.start(parcel_of("a", 1), id="x")
        return first.run_id, (await client.start(parcel_of("a", 1), id="y")).run_id

    with processor(answer) as fake:
        run_ids = with_client(log, use)
    assert run_ids == tuple(command.message_id for _, command in fake.commands)


def test_many_starts(log, processor):
    """A thousand starts are all answered, few at a time, and one refusal does not stop the others."""
    in_flight, most = 0, 0

    def answer(command):
        return [rejected(command, "bad_input", "too heavy.")] if command.workflow_id == "n-13" else [accepted(command)]

    async def use(client):
        nonlocal in_flight, most
        publish = client.exchange.publish

        async def counted(command):
            nonlocal in_flight, most
            in_flight += 1
            most = max(most, in_flight)
            await publish(command)

        client.exchange.publish = counted
        found = []
        starts = (("client-trial", b"null", f"n-{number}") for number in range(1_000))
        async for one in client.start_many(starts, in_flight=50):
            in_flight -= 1
            found.append(one)
        return found

    with processor(answer) as fake:
        found = with_client(log, use)
    assert (
        {one.id for one in found}
        == {f"n-{number}" for number in range(1_000)}
        == {command.workflow_id for _, command in fake.commands}
    )
    assert [(one.id, str(one.error)) for one in found if one.run is None] == [("n-13", "too heavy.")]
    assert most <= 50


def test_what_is_refused_at_once(log):
    """Bad ids, signals without a name, inputs that are too large and calls that are no workflow never reach the log."""

    async def use(client):
        with pytest.raises(BadName):
            await client.start(parcel_of("a", 1), id="")
        with pytest.raises(BadName):
            client.get("x" * 256)
        with pytest.raises(BadName, match="signal's name is empty"):
            await client.signal("x", "")
        with pytest.raises(PayloadTooLarge, match="client-trial"):
            await client.start_by_name("client-trial", b'"' + b"x" * 1_000_000 + b'"')
        call = an_activity()
        with pytest.raises(BadInput, match=r"fulfil\(order\)"):
            await client.start(call)
        call.close()

    with_client(log, use)
    assert all(
        end == 0 for _, end in log.ends([("penstock.trial.commands", shard) for shard in range(SHARDS)]).values()
    )


@pytest.mark.parametrize(
    ("start", "error", "says"),
    [
        (lambda client: client.start(parcel_of("a", 1), on_existing="join"), BadInput, "use_existing, reject, restart"),
        (lambda client: client.start_by_name("t", on_existing=None), BadInput, "use_existing, reject, restart_closed"),
        (lambda client: anext(client.start_many([], on_existing="join")), BadInput, "use_existing, reject, restart"),
        (lambda client: client.start(parcel_of("a", 1), id=7), BadName, "must be a str, not 7 of type int"),
        (lambda client: client.start_by_name("t", b"1", 0), BadName, "must be a str, not 0 of type int"),
        (
            lambda client: client.start_by_name("t", {"a": 1}),
            BadInput,
            r"`json\.dumps\(…\)\.encode\(\)`, or use `start`",
        ),
        (lambda client: client.start_by_name("t", "1"), BadInput, "as bytes, not a value of type str"),
        (lambda client: client.start_by_name(parcel_of, b"1"), BadName, "must be its name.*`start` takes a call"),
        (lambda client: client.list(status="done"), BadInput, "one of running, blocked, .*, terminated, not 'done'"),
        (lambda client: client.list(limit=0), BadInput, "limit must be a number from 1 to 10000, not 0"),
        (lambda client: client.list(limit=10_001), BadInput, "from 1 to 10000, not 10001"),
        (lambda client: client.list(limit="5"), BadInput, "from 1 to 10000, not '5'"),
        (lambda client: client.signal(7, "go"), BadName, "workflow id must be a str, not 7"),
        (lambda client: client.signal("x", 7), BadName, "signal's name must be a str, not 7"),
    ],
)
def test_what_is_of_another_type(log, start, error, says):
    """A misspelt word, and a value of another type than is asked for, is told at once by a sentence of ours."""

    async def use(client):
        with pytest.raises(error, match=says):
            await start(client)

    with_client(log, use)


def test_many_starts_of_which_one_has_no_id(log, processor):
    """Among many starts a value of another type is told for its own start and stops no other."""

    async def use(client):
        return [one async for one in client.start_many([("t", b"1", "a"), ("t", b"1", 7), ("t", "1", "c")])]

    with processor(agreeable):
        found = {one.id: one.error for one in with_client(log, use)}
    assert found["a"] is None
    assert isinstance(found[7], BadName) and isinstance(found["c"], BadInput)


def test_a_namespace_without_topics():
    """Where the namespace was never made, opening says what makes it."""
    log = EmbeddedLog(MEMORY)
    with pytest.raises(UnknownTopic, match="penstock dev FILE"):
        with_client(log, lambda client: client.result("x"))
    log.close()


def test_a_log_that_is_not_there(tmp_path):
    """A client does not make an embedded log by asking for it."""

    async def use():
        async with Client(f"embedded:{tmp_path}/none"):
            raise AssertionError("it opened")

    with pytest.raises(UnknownTopic, match="penstock dev FILE"):
        asyncio.run(use())
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_is_not_open(log):
    """Used outside of its block, a client says how it is used."""
    client = Client(log=log, settings=SETTINGS)
    with pytest.raises(UserError, match="async with"):
        asyncio.run(client.cancel("x"))


def test_a_log_that_refuses(log, monkeypatch):
    """A command that the log does not take raises the log's error where it was given; the next one goes through."""
    monkeypatch.setattr(client_module, "ANSWER_TIMEOUT_S", 0.2)
    broken = iter([True])
    publisher_of = log.publisher

    def publisher():
        made = publisher_of()
        send = made.send

        def failing(record, on_done=None):
            if next(broken, False):
                raise LogUnavailable("the log is away.")
            send(record, on_done)

        made.send = failing
        return made

    monkeypatch.setattr(log, "publisher", publisher)

    async def use(client):
        with pytest.raises(LogUnavailable, match="away"):
            await client.cancel("x")
        with pytest.raises(NotAnswered):
            await client.cancel("x")

    with_client(log, use)


def test_reading_what_was_heard(log, processor):
    """Whoever has the result reads of a run that ended, though the processor's store is written a moment later."""
    states = [{"closed_ms": None}, {"closed_ms": None}, {"closed_ms": 7}]
    histories = [[{"event": "WorkflowStarted"}], [{"event": "WorkflowCompleted"}]]

    async def use(client):
        run = client.get("x")
        client.reads.describe = lambda _: told(states)
        client.reads.history = lambda *_: told(histories)
        before = await run.describe()
        await run.result()
        return before, await run.describe(), await run.history()

    async def told(answers):
        return answers.pop(0)

    with processor(agreeable):
        before, after, history = with_client(log, use)
    assert (before["closed_ms"], after["closed_ms"], history[-1]["event"]) == (None, 7, "WorkflowCompleted")
