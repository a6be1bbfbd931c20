"""The rule about what workflow code publishes: the topic has each record once, in the order of the decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from penstock.schemas.encoding.codec import decode
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.records.external import RecordPublished
from penstock.topics.catalogue import Topics
from tests.simulation.broker import Broker

AUDIT = "sim.audit"
PARTITIONS = 2

Records = dict[str, list[bytes | None]]


def judge(broker: Broker, topics: Topics, shards: int) -> str:
    """What differs between the topic and the decisions, key by key; empty if nothing does."""
    events = (_committed(broker, topics.events, number) for number in range(shards))
    decided = _decided(value for values in events for _, value in values)
    found: Records = {}
    for number in range(PARTITIONS):
        for key, value in _committed(broker, AUDIT, number):
            found.setdefault((key or b"").decode(), []).append(value)
    return _difference(decided, found)


def _committed(broker: Broker, topic: str, number: int) -> list[tuple[bytes | None, bytes | None]]:
    entries = broker.partition((topic, number)).entries
    return [(entry.key, entry.value) for entry in entries if entry.was_committed]


def _decided(values: Iterable[bytes | None]) -> Records:
    """What the decisions on `events` publish: values by key."""
    wanted: Records = {}
    for value in values:
        record = decode(value or b"")
        assert isinstance(record, DecisionRecorded)
        for event in map(decode, record.events):
            if isinstance(event, RecordPublished):
                wanted.setdefault(event.key or "", []).append(None if event.deletes else event.value)
    return wanted


def _difference(wanted: Mapping[str, object], found: Mapping[str, object]) -> str:
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            return f"{key} published {wanted.get(key)}, and the topic has {found.get(key)}"
    return ""
