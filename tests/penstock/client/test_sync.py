"""Tests of SyncClient."""

import msgspec
import pytest

from penstock.client.sync import SyncClient
from penstock.schemas.errors import NotAnswered, UserError, WorkflowNotFound
from penstock.schemas.records.replies import Rejected
from tests.penstock.client.helpers import SETTINGS, Parcel, accepted, agreeable, approval, parcel_of


def test_the_same_methods(log, processor):
    """start, signal, result and the other methods send their commands and return typed results."""
    with processor(agreeable) as fake, SyncClient(log=log, settings=SETTINGS) as client:
        run = client.start(parcel_of("a", 1), id="x")
        run.signal(approval, Parcel(1))
        run.cancel("enough")
        client.terminate("x")
        client.retry("x")
        assert run.result(timeout=10) == Parcel(2.5)
        assert client.get("x", returns=Parcel).result() == Parcel(2.5)
        assert (run.id, run.existing) == ("x", False)
    assert [type(command).__name__ for _, command in fake.commands] == [
        "StartWorkflow", "SignalWorkflow", "CancelWorkflow", "TerminateWorkflow", "RetryWorkflow",
        "AwaitResult", "AwaitResult",
    ]  # fmt: skip


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
