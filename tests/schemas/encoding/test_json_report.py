"""What programs without Avro say of attempts on `results` (schemas/encoding/json_report.py)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.schemas.encoding.json_report import parse_report
from penstock.schemas.errors import Undecodable
from penstock.schemas.records.activity import CompleteActivity, FailActivity, HeartbeatActivity
from penstock.schemas.values.tokens import AttemptToken, write_token

KEYS = (b"key",)
TOKEN = write_token(AttemptToken("order-1", "run-1", 3, 2, 0), KEYS[0])
PLACE: dict[str, Any] = {"workflow_id": "order-1", "run_id": "run-1", "sequence": 3, "attempt": 2}


def parsed(**said: Any) -> Any:
    return parse_report(json.dumps(said).encode(), KEYS)


def test_each_form() -> None:
    """A result, a failure and a heartbeat are the commands of that name, by token and by ids."""
    assert parsed(token=TOKEN, result={"paid": True}) == CompleteActivity(result=b'{"paid": true}', **PLACE)
    assert parsed(token=TOKEN, heartbeat=3) == HeartbeatActivity(details=b"3", **PLACE)
    failed = parsed(token=TOKEN, failure="busy", retry_after_ms=30_000, type="Busy")
    assert failed == FailActivity(message="busy", retry_after_ms=30_000, type="Busy", **PLACE)
    ids = {"id": "order-1", "run_id": "run-1", "sequence": 3, "attempt": 2}
    assert parsed(**ids, result=None) == CompleteActivity(result=b"null", **PLACE)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"token": "nonsense", "result": 1}, "This is no token of an activity"),
        ({"token": TOKEN}, "exactly one of the keys result, failure and heartbeat"),
        ({"token": TOKEN, "result": 1, "failure": "x"}, "exactly one of the keys"),
        ({"id": "order-1", "result": 1}, "needs a token, or all of id, run_id, sequence and attempt"),
        ({"token": TOKEN, "reslt": 1}, "unknown field `reslt`"),
        ({"token": TOKEN, "failure": 3}, "Expected `str`"),
    ],
)
def test_mistakes(said: dict[str, Any], says: str) -> None:
    """What cannot be meant is one sentence."""
    with pytest.raises(Undecodable, match=says.replace("`", ".")):
        parsed(**said)
