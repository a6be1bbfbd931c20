"""Translation of Kafka's errors into Penstock's, and logging of lost connections once for each outage."""

# ruff: noqa: SLF001 (an underscore marks librdkafka's own error codes, not private ones)
from __future__ import annotations

import logging

from confluent_kafka import KafkaError, KafkaException

from penstock.schemas.errors import (
    Fenced,
    LogError,
    LogUnavailable,
    OffsetOutOfRange,
    OutcomeUnknown,
    RecordTooLarge,
    TransactionAborted,
    UnknownTopic,
)

# A newer holder of the transactional id, or a newer generation of the group. A producer whose transaction timed out on
# the broker gets the same codes (KIP-588 is not in librdkafka) and has to be recovered as well.
FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.UNKNOWN_MEMBER_ID,
    }
)
# A member that has begun to join the next generation can no longer commit for the previous one.
FENCED_COMMIT = FENCED | {KafkaError.REBALANCE_IN_PROGRESS}
UNKNOWN_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
OUT_OF_RANGE = frozenset({KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET})
# The metadata's leader is not, or not yet, the leader. This is temporary.
LEADER_MOVES = frozenset(
    {
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._NOENT,  # "no leaders found"
    }
)
END_OF_PARTITION = KafkaError._PARTITION_EOF
NOT_IN_THIS_STATE = KafkaError._STATE
FATAL = KafkaError._FATAL
AWAY = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._NOENT,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
# What librdkafka resolves by itself: it asks again, fetches elsewhere, or joins its group anew. All other errors of a
# consumer last until an operator does something.
PASSING = (
    AWAY
    | LEADER_MOVES
    | FENCED_COMMIT
    | {
        END_OF_PARTITION,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._DESTROY_BROKER,
        KafkaError._IN_PROGRESS,
        KafkaError._INTR,
        KafkaError._MAX_POLL_EXCEEDED,
        KafkaError._OUTDATED,
        KafkaError._RETRY,
        KafkaError._WAIT_CACHE,
        KafkaError.FETCH_SESSION_ID_NOT_FOUND,
        KafkaError.INCONSISTENT_TOPIC_ID,
        KafkaError.INVALID_FETCH_SESSION_EPOCH,
        KafkaError.MEMBER_ID_REQUIRED,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REBOOTSTRAP_REQUIRED,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)
_REMEDIES = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "give this program's principal the right to read the topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "give this program's principal the right to read the group",
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: "stop the consumers of the group that are not Penstock's",
    KafkaError.GROUP_MAX_SIZE_REACHED: "raise the broker's group.max.size, or run fewer processes",
    KafkaError.INVALID_SESSION_TIMEOUT: "set session.timeout.ms within the broker's limits",
}

logger = logging.getLogger("penstock.kafka")


def error_of(raised: KafkaException) -> KafkaError:
    """The KafkaError of a KafkaException."""
    inner = raised.args[0]
    assert isinstance(inner, KafkaError), f"KafkaException without a KafkaError: {raised!r}"
    return inner


def plain_failure(error: KafkaError, bootstrap: str, problem: str) -> LogError:
    """Translate an error outside of transactions. `problem` begins the message."""
    code = error.code()
    if code in FENCED_COMMIT:
        return Fenced(f"{problem}: a newer owner has taken over ({error.str()})")
    if code in UNKNOWN_TOPIC:
        return UnknownTopic(f"{problem}: {error.str()}")
    if code in TOO_LARGE:
        return RecordTooLarge(f"{problem}: {error.str()}")
    if code in OUT_OF_RANGE:
        return OffsetOutOfRange(f"{problem}: {error.str()}")
    if code in AWAY:
        return LogUnavailable(f"{problem}: {no_broker(bootstrap)} ({error.str()})")
    return LogError(f"{problem}: {error.str()} ({error.name()})")


def reading_failure(error: KafkaError, where: str) -> LogUnavailable:
    """Translate an error of a consumer that lasts until an operator does something. `where`: what cannot be read."""
    remedy = _REMEDIES.get(error.code(), "the broker's log has the reason")
    return LogUnavailable(f"{where} cannot be read: {error.str()} ({error.name()}); {remedy}")


def transaction_failure(error: KafkaError, step: str) -> LogError:
    """Translate an error of a transaction's step: Fenced, TransactionAborted (repeatable) or OutcomeUnknown."""
    if error.code() in FENCED:
        return Fenced(f"{step}: a newer owner has taken over, or the transaction timed out ({error.str()})")
    if error.txn_requires_abort():
        return TransactionAborted(f"{step}: {error.str()} ({error.name()})")
    return OutcomeUnknown(f"{step}: {error.str()} ({error.name()}); recover before continuing")


def no_broker(bootstrap: str) -> str:
    """The message for a broker that cannot be reached."""
    return f"no Kafka broker answers at {bootstrap}; start one (docker compose up -d) or set PENSTOCK_LOG"


class Watch:
    """Receiver of a client's connection errors, called by librdkafka within the client's polls.

    `troubles` counts the errors, `fatal` is the last fatal one."""

    def __init__(self, bootstrap: str) -> None:
        self.troubles = 0
        self.fatal: KafkaError | None = None
        self._bootstrap = bootstrap
        self._away = False
        self._refused: set[str] = set()

    def on_error(self, error: KafkaError) -> None:
        """librdkafka's error_cb: count errors, keep a fatal one, and log once that no broker answers."""
        self.troubles += 1
        if error.fatal():
            self.fatal = error
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self._away:
            self._away = True
            logger.warning("%s; trying again", no_broker(self._bootstrap))
        elif not error.fatal() and error.code() not in PASSING and error.name() not in self._refused:
            self._refused.add(error.name())
            logger.warning("the Kafka broker at %s refuses this client: %s", self._bootstrap, error.str())

    def note_answer(self) -> None:
        """Record that a broker has answered, so that the next outage is logged again."""
        self._refused.clear()
        if self._away:
            self._away = False
            logger.warning("the Kafka broker at %s answers again", self._bootstrap)


class LibrdkafkaLog:
    """Logger of a librdkafka client.

    Lines about failed connections (logged by Watch), failed transactions and fencing (raised) and consumer options
    given to a producer (harmless) are logged as debug."""

    QUIET = frozenset({"CONFWARN", "ERROR", "FAIL", "FATAL", "GETPID", "TXNERR"})

    def log(self, level: int, template: str, facility: str, client: str, text: str) -> None:
        """Log a line; called by confluent-kafka."""
        logger.log(logging.DEBUG if facility in self.QUIET else level, template, facility, client, text)
