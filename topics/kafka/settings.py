"""Settings of librdkafka clients. A user's options override tunable settings, but not those that ensure correctness.

Names and meanings: librdkafka's CONFIGURATION.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.topics.kafka.faults import LibrdkafkaLog, Watch

# Bounds how long the open transaction of a dead processor blocks the readers of its topics (the last stable offset).
TRANSACTION_TIMEOUT_MS = 10_000
POLL_INTERVAL_MS = 300_000
SESSION_TIMEOUT_MS = 8_000
Settings = dict[str, Any]

_COMMON: Mapping[str, Any] = {
    "client.id": "penstock",
    # The default of 100 ms would delay every transaction: commits retry until the previous markers are written.
    "retry.backoff.ms": 2,
    "retry.backoff.max.ms": 10,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1_000,
    "socket.nagle.disable": True,
    "socket.keepalive.enable": True,
    # librdkafka requires at most the transaction timeout.
    "socket.timeout.ms": 10_000,
    # Too short: a new topic may still be unknown to a broker. Too long: producing to a missing topic blocks.
    "topic.metadata.propagation.max.ms": 5_000,
    "topic.metadata.refresh.fast.interval.ms": 10,
    "topic.metadata.refresh.interval.ms": 60_000,
    "enable.metrics.push": False,
    "statistics.interval.ms": 0,
}
_PRODUCER: Mapping[str, Any] = {
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 1_048_576,
    # `Admin.check` compares with the topic's limit; this limit must not be lower.
    "message.max.bytes": 64_000_000,
    # A batch must not be larger than the topic's max.message.bytes, whose default is 1,048,588.
    "batch.size": 1_000_000,
    "compression.type": "none",
    "request.timeout.ms": 10_000,
}
_PRODUCER_FIXED: Mapping[str, Any] = {"enable.idempotence": True, "acks": "all"}
_FETCH: Mapping[str, Any] = {
    "fetch.min.bytes": 1,
    # A partition that is started waits until the current fetch returns.
    "fetch.wait.max.ms": 100,
    "fetch.error.backoff.ms": 20,
    # The default of 1 s would delay a reader that is catching up each time its queue is full.
    "fetch.queue.backoff.ms": 5,
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 32_768,
    "check.crcs": True,
}
_FETCH_FIXED: Mapping[str, Any] = {
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "allow.auto.create.topics": False,
}


def transactional(bootstrap: str, options: Mapping[str, str], watch: Watch, transactional_id: str) -> Settings:
    """Settings of a transactional producer. Its transactions are sent when complete, so it does not linger."""
    return {
        **_client(bootstrap, watch),
        **_PRODUCER,
        "linger.ms": 0,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
        "message.timeout.ms": TRANSACTION_TIMEOUT_MS,
        **options,
        **_PRODUCER_FIXED,
        "transactional.id": transactional_id,
    }


def publishing(bootstrap: str, options: Mapping[str, str], watch: Watch) -> Settings:
    """Settings of a producer outside of transactions."""
    return {
        **_client(bootstrap, watch),
        **_PRODUCER,
        "linger.ms": 1,
        "message.timeout.ms": 30_000,
        **options,
        **_PRODUCER_FIXED,
    }


def member(bootstrap: str, options: Mapping[str, str], watch: Watch, group: str, instance: str) -> Settings:
    """Settings of a group member: classic protocol, range assignment, and a static membership under a name of its own.

    The range assignor is the only one that keeps `commands-i` and `results-i` together. librdkafka forgets its member
    id when it had no contact for a session, for example while the broker was restarted. With `instance` it takes its
    place in the group again; without, the group would wait for the end of the former member's session."""
    return {
        **_client(bootstrap, watch),
        **_FETCH,
        "session.timeout.ms": SESSION_TIMEOUT_MS,
        # The answer to a heartbeat announces a rebalance, so this bounds how long a rebalance takes to begin.
        "heartbeat.interval.ms": 300,
        "max.poll.interval.ms": POLL_INTERVAL_MS,
        **options,
        **_FETCH_FIXED,
        "group.id": group,
        "group.instance.id": instance,
        "group.protocol": "classic",
        "partition.assignment.strategy": "range",
    }


def reading(bootstrap: str, options: Mapping[str, str], watch: Watch, *, to_end: bool = False) -> Settings:
    """Settings of a consumer without a group; librdkafka requires a group name nevertheless.

    `to_end`: the consumer stops at the end instead of waiting for more records."""
    return {
        **_client(bootstrap, watch),
        **_FETCH,
        # The event of a partition's end comes with the first empty fetch.
        **({"fetch.wait.max.ms": 5} if to_end else {}),
        **options,
        **_FETCH_FIXED,
        "group.id": "penstock-reader",
        "enable.partition.eof": True,
    }


def administering(bootstrap: str, options: Mapping[str, str]) -> Settings:
    """Settings of an admin client. It is not polled, so log lines would accumulate; they are disabled."""
    return {"bootstrap.servers": bootstrap, **_COMMON, "log_level": 0, **options}


def _client(bootstrap: str, watch: Watch) -> Settings:
    return {"bootstrap.servers": bootstrap, **_COMMON, "error_cb": watch.on_error, "logger": LibrdkafkaLog()}
