"""Tests of the commands that start runs: every way to start takes the same options."""

import msgspec
import pytest

from penstock.engine.authoring.handlers import Update
from penstock.schemas.errors import BadInput
from penstock.schemas.records.replies import UpdateClosed
from tests.penstock.client.helpers import Parcel, agreeable, approval, parcel_of, with_client

renames = Update("client-starting-rename", str, str)


def answer(command):
    if command.update:
        return [UpdateClosed(message_id=command.message_id, workflow_id="x", run_id="r", result=b'"b"')]
    return agreeable(command)


def starts_of(log, processor, use):
    """The commands that `use(client)` sends."""
    with processor(answer) as fake:
        with_client(log, use)
    return [command for _, command in fake.commands]


def test_options_of_the_call(log, processor):
    """Options of the call hold for a start with a signal, or with an update, too."""

    async def use(client):
        call = parcel_of("a", 1).options(run_timeout="5s", retries=1, memo={"by": "ann"}, search={"customer": "c1"})
        await client.signal_with_start(approval, Parcel(1), call, id="x")
        call = parcel_of("a", 1).options(run_timeout="5s", retries=1, memo={"by": "ann"}, search={"customer": "c1"})
        await client.update_with_start(renames, "a", call, id="x")

    for start in starts_of(log, processor, use):
        assert (start.run_timeout_ms, start.retry.retries_max) == (5_000, 1)
        assert (start.memo, start.search) == (b'{"by":"ann"}', b'{"customer":"c1"}')


def test_options_of_the_start(log, processor):
    """Every way to start takes the options of `start`."""
    options = {"start_delay": "1s", "run_timeout": "5s", "execution_timeout": "1m", "retries": 2, "backoff": ["3s"]}
    options |= {"memo": {"by": "ann"}, "search": {"customer": "c1", "total": 1.5}}

    async def use(client):
        await client.start(parcel_of("a", 1), **options)
        await client.signal_with_start(approval, Parcel(1), parcel_of("a", 1), **options)
        await client.update_with_start(renames, "a", parcel_of("a", 1), **options)
        await client.start_by_name("client-trial", **options)
        assert [one.error async for one in client.start_many([("client-trial", b"null", "m")], **options)] == [None]

    starts = starts_of(log, processor, use)
    assert len(starts) == 5
    for start in starts:
        assert (start.start_delay_ms, start.run_timeout_ms, start.execution_timeout_ms) == (1_000, 5_000, 60_000)
        assert (start.retry.retries_max, start.retry.delays_ms) == (2, (3_000,))
        assert (start.memo, start.search) == (b'{"by":"ann"}', b'{"customer":"c1","total":1.5}')


@pytest.mark.parametrize("options", [{"memo": ["a"]}, {"memo": {"a": object()}}, {"search": {"a": None}}])
def test_bad_attributes(log, options):
    """A memo or search attributes that are refused raise before anything is sent."""

    async def use(client):
        with pytest.raises(BadInput):
            await client.start(parcel_of("a", 1), **options)

    with_client(log, use)


def test_no_retries(log, processor):
    """`retries=0` of a start overrides the retries of the call."""

    async def use(client):
        await client.start(parcel_of("a", 1).options(retries=3), retries=0)

    (start,) = starts_of(log, processor, use)
    assert start.retry is None


def test_the_handed_signal(log, processor):
    """A start with a signal carries the signal's name and value beside the input."""

    async def use(client):
        await client.signal_with_start(approval, Parcel(1.5), parcel_of("a", 2), id="x")

    (start,) = starts_of(log, processor, use)
    assert (start.signal, msgspec.json.decode(start.handed)) == (approval.name, {"weight": 1.5})
    assert (start.on_existing, start.workflow_id) == ("restart_closed", "x")
