"""Workflows, replies and a runner for the tests of the client."""

import asyncio

import msgspec

from penstock.client.client import Client
from penstock.config import Settings
from penstock.engine.authoring.signal import Signal
from penstock.engine.authoring.workflow import workflow
from penstock.schemas.records.replies import Accepted, Rejected, RunClosed
from penstock.schemas.records.run import AwaitResult
from penstock.workers.activity.decorator import activity

SETTINGS = Settings(log="embedded::memory:", namespace="trial")


class Parcel(msgspec.Struct):
    weight: float


@workflow(name="client-trial")
async def parcel_of(order: str, weight: float) -> Parcel:
    return Parcel(weight)


@activity(name="client-trial-activity")
def an_activity() -> None: ...


approval = Signal("client-trial-approval", Parcel)


def accepted(command, **fields):
    return Accepted(
        message_id=command.message_id,
        workflow_id=command.workflow_id,
        run_id=getattr(command, "run_id", "") or command.message_id,
        **fields,
    )


def closed(command, status="completed", result=b"null", failure=None):
    return RunClosed(
        message_id=command.message_id, workflow_id=command.workflow_id, run_id="r", status=status, result=result,
        failure=failure,
    )  # fmt: skip


def rejected(command, reason="not_found", message="no."):
    return Rejected(message_id=command.message_id, workflow_id=command.workflow_id, reason=reason, message=message)


def agreeable(command):
    """Accept every command; every run has a parcel as its result."""
    if isinstance(command, AwaitResult):
        return [closed(command, result=b'{"weight":2.5}')]
    return [accepted(command)]


def with_client(log, use, settings=SETTINGS):
    async def run():
        async with Client(log=log, settings=settings) as client:
            return await asyncio.wait_for(use(client), 20)

    return asyncio.run(run())
