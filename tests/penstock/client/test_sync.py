"""Tests of SyncClient."""

import msgspec
import pytest

from penstock.client.sync import SyncClient
from penstock.engine.authoring.handlers import Query, Update
from penstock.schemas.errors import NotAnswered, UserError, WorkflowNotFound
from penstock.schemas.records.query import QueryWorkflow
from penstock.schemas.records.replies import QueryAnswered, Rejected, UpdateClosed
from penstock.schemas.records.update import UpdateWorkflow
from tests.penstock.client.helpers import SETTINGS, Parcel, accepted, agreeable, approval, closed, parcel_of

renames = Update("rename", str, str)


def test_the_same_methods(log, processor):
    """start, signal, result and the other methods send their commands and return typed results."""
    with processor(agreeable) as fake, SyncClient(log=log, settings=SETTINGS) as client:
        run = client.start(parcel_of("a", 1), id="x")
        run.signal(approval, Parcel(1))
        run.cancel("enough")
        client.terminate("x")
        client.unblock("x")
        assert run.result(timeout=10) == Parcel(2.5)
        assert client.get("x", returns=Parcel).result() == Parcel(2.5)
        assert (run.id, run.existing) == ("x", False)
    assert [type(command).__name__ for _, command in fake.commands] == [
        "StartWorkflow", "SignalWorkflow", "CancelWorkflow", "TerminateWorkflow", "UnblockWorkflow",
        "AwaitResult", "AwaitResult",
    ]  # fmt: skip


def test_queries_updates_and_combined_starts(log, processor):
    """query, update, start_update, execute and the combined starts send their commands and return typed results."""

    def answer(command):
        names = {"message_id": command.message_id, "workflow_id": command.workflow_id, "run_id": "r"}
        if isinstance(command, QueryWorkflow):
            return [QueryAnswered(**names, result=b"7")]
        if isinstance(command, UpdateWorkflow) and command.wait_for == "accepted":
            return [accepted(command)]
        if isinstance(command, UpdateWorkflow) or getattr(command, "update", ""):
            return [UpdateClosed(**names, result=b'"ann"')]
        if getattr(command, "await_result", False):
            return [closed(command, result=b'{"weight":2.5}')]
        return [accepted(command)]

    with processor(answer) as fake, SyncClient(log=log, settings=SETTINGS) as client:
        run = client.get("x")
        assert run.query(Query("stage", int)) == 7
        assert run.update(renames, "ann") == "ann"
        assert run.start_update(renames, "ann", id="u").result(timeout=10) == "ann"
        assert client.execute(parcel_of("a", 1), retries=1, start_delay="1s", memo={"a": 1}) == Parcel(2.5)
        assert client.signal_with_start(approval, Parcel(1), parcel_of("a", 1), id="y").id == "y"
        assert client.update_with_start(renames, "ann", parcel_of("a", 1), id="z", update_id="w") == "ann"
    executed = next(command for _, command in fake.commands if getattr(command, "await_result", False))
    assert (executed.retry.retries_max, executed.start_delay_ms) == (1, 1_000)
    assert executed.memo == b'{"a":1}'


def test_options_of_starts(log, processor):
    """Every way to start takes the options of the asynchronous one, and hands them on."""
    options = {"start_delay": "1s", "run_timeout": "5s", "execution_timeout": "1m", "retries": 2, "backoff": ["3s"]}
    options |= {"headers": {"a": "b"}, "memo": {"by": "ann"}, "search": {"customer": "c1"}}

    def answer(command):
        names = {"message_id": command.message_id, "workflow_id": command.workflow_id, "run_id": "r"}
        return [UpdateClosed(**names, result=b'"ann"')] if command.update else [accepted(command)]

    with processor(answer) as fake, SyncClient(log=log, settings=SETTINGS) as client:
        client.start(parcel_of("a", 1), **options)
        client.signal_with_start(approval, Parcel(1), parcel_of("a", 1), **options)
        client.update_with_start(Update("rename", str, str), "ann", parcel_of("a", 1), **options)
        client.start_by_name("client-trial", **options)
        client.start_by_name("client-trial", wait="stored", **options)
        assert [one.error for one in client.start_many([("client-trial", b"null", "m")], **options)] == [None]
    assert len(fake.commands) == 6
    for _, start in fake.commands:
        assert (start.start_delay_ms, start.run_timeout_ms, start.execution_timeout_ms) == (1_000, 5_000, 60_000)
        assert (start.headers, start.memo, start.search) == ({"a": "b"}, b'{"by":"ann"}', b'{"customer":"c1"}')
        assert start.retry.retries_max == 2


def test_many_starts(log, processor):
    """start_many is an ordinary iterator."""
    with processor(agreeable), SyncClient(log=log, settings=SETTINGS) as client:
        starts = [("client-trial", b"null", f"n-{number}") for number in range(20)]
        assert {one.id for one in client.start_many(starts, in_flight=3)} == {id for _, _, id in starts}


def test_a_start_with_a_timeout(log):
    """Every start method takes a timeout."""
    with SyncClient(log=log, settings=SETTINGS) as client:
        with pytest.raises(NotAnswered, match=r"within 0\.\d+ s"):
            client.start(parcel_of("a", 1), timeout="100ms")
        with pytest.raises(NotAnswered, match=r"within 0\.\d+ s"):
            client.start_by_name("t", timeout="100ms")
        (one,) = client.start_many([("t", b"null", "x")], timeout="100ms")
        assert isinstance(one.error, NotAnswered)


def test_errors(log, processor):
    """Errors of the asynchronous client are raised in the caller's thread."""

    def answer(command):
        refusal = Rejected(message_id=command.message_id, workflow_id="x", reason="not_found", message="no.")
        return [refusal, msgspec.structs.replace(accepted(command), message_id="other")]

    with processor(answer), SyncClient(log=log, settings=SETTINGS) as client, pytest.raises(WorkflowNotFound):
        client.result("x")


def test_outside_of_its_block(log):
    """Outside of its block it raises an error that shows its use."""
    with pytest.raises(UserError, match="with SyncClient"):
        SyncClient(log=log, settings=SETTINGS).cancel("x")
