"""Tests of argument checks."""

import pytest

from penstock.schemas.errors import (
    BadInput,
    BadName,
)
from tests.penstock.client.helpers import (
    parcel_of,
    with_client,
)


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (lambda client: client.start(parcel_of("a", 1), on_existing="join"), BadInput, "use_existing, reject, restart"),
        (lambda client: client.start_by_name("t", on_existing=None), BadInput, "use_existing, reject, restart_closed"),
        (lambda client: client.start_by_name("t", headers={"a": 1}), BadInput, "headers must be texts, not 'a': 1"),
        (lambda client: client.start_by_name("t", headers={"a": "\ud800"}), BadInput, "that UTF-8 can express"),
        (lambda client: client.start_by_name("t", headers="a=1"), BadInput, "headers must be a mapping of texts"),
        (lambda client: anext(client.start_many([], on_existing="join")), BadInput, "use_existing, reject, restart"),
        (lambda client: client.start(parcel_of("a", 1), id=7), BadName, "must be a str, not 7 of type int"),
        (lambda client: client.start_by_name("t", b"1", 0), BadName, "must be a str, not 0 of type int"),
        (
            lambda client: client.start_by_name("t", {"a": 1}),
            BadInput,
            r"`json\.dumps\(…\)\.encode\(\)`, or pass the workflow's call to `start`",
        ),
        (lambda client: client.start_by_name("t", "1"), BadInput, "as bytes, not a value of type str"),
        (lambda client: client.start_by_name(parcel_of, b"1"), BadName, "must be its name.*`start` takes a call"),
        (
            lambda client: client.list(status="done"),
            BadInput,
            "one of running, waiting, .*, terminated, not 'done'",
        ),
        (lambda client: client.list(limit=0), BadInput, "limit must be a number from 1 to 10000, not 0"),
        (lambda client: client.list(limit=10_001), BadInput, "from 1 to 10000, not 10001"),
        (lambda client: client.list(limit="5"), BadInput, "from 1 to 10000, not '5'"),
        (lambda client: client.signal(7, "go"), BadName, "workflow id must be a str, not 7"),
        (lambda client: client.signal("x", 7), BadName, "signal's name must be a str, not 7"),
    ],
)
def test_arguments_of_another_type(log, start, error, message):
    """A misspelt word or a value of another type raises an error that names it, before anything is sent."""

    async def use(client):
        with pytest.raises(error, match=message):
            await start(client)

    with_client(log, use)
