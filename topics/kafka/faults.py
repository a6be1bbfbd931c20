"""What does an error of Kafka's mean to Penstock? And how is a silent broker reported once instead of every second?"""

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

# A newer holder of the transactional id, or a newer generation of the group. A producer whose transaction the broker
# timed out gets the same codes (KIP-588 is not in librdkafka): both ways it has to be recovered.
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
# A member that has begun to join the next generation may no longer commit for the last one.
FENCED_COMMIT = FENCED | {KafkaError.REBALANCE_IN_PROGRESS}
UNKNOWN_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
OUT_OF_RANGE = frozenset({KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET})
# The metadata name a leader that is not, or not yet, one: it passes.
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

logger = logging.getLogger("penstock.kafka")


def error_of(raised: KafkaException) -> KafkaError:
    """The KafkaError inside of a KafkaException."""
    inner = raised.args[0]
    assert isinstance(inner, KafkaError), f"a KafkaException without its error: {raised!r}"
    return inner


def plain_failure(error: KafkaError, bootstrap: str, doing: str) -> LogError:
    """What an error outside of transactions means."""
    code = error.code()
    if code in FENCED_COMMIT:
        return Fenced(f"{doing}: a newer owner has taken over ({error.str()})")
    if code in UNKNOWN_TOPIC:
        return UnknownTopic(f"{doing}: {error.str()}")
    if code in TOO_LARGE:
        return RecordTooLarge(f"{doing}: {error.str()}")
    if code in OUT_OF_RANGE:
        return OffsetOutOfRange(f"{doing}: {error.str()}")
    if code in AWAY:
        return LogUnavailable(f"{doing}: {nobody_answers(bootstrap)} ({error.str()})")
    return LogError(f"{doing}: {error.str()} ({error.name()})")


def transaction_failure(error: KafkaError, doing: str) -> LogError:
    """What an error of a transaction's step means: may it be tried again, has somebody taken over, or is it unknown?"""
    if error.code() in FENCED:
        return Fenced(f"{doing}: a newer owner has taken over, or the transaction timed out ({error.str()})")
    if error.txn_requires_abort():
        return TransactionAborted(f"{doing}: {error.str()} ({error.name()})")
    return OutcomeUnknown(f"{doing}: {error.str()} ({error.name()}); recover before going on")


def nobody_answers(bootstrap: str) -> str:
    """The sentence for a broker that is not there."""
    return f"no Kafka broker answers at {bootstrap}; start one (docker compose up -d) or set PENSTOCK_LOG"


class Watch:
    """What one client hears of its connections between requests. librdkafka calls it from the client's own polls."""

    def __init__(self, bootstrap: str) -> None:
        self.troubles = 0
        self.fatal: KafkaError | None = None
        self._bootstrap = bootstrap
        self._away = False

    def on_error(self, error: KafkaError) -> None:
        """librdkafka's error_cb: count, keep what is fatal, and say once that the broker is away."""
        self.troubles += 1
        if error.fatal():
            self.fatal = error
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self._away:
            self._away = True
            logger.warning("%s; trying again", nobody_answers(self._bootstrap))

    def note_answer(self) -> None:
        """A broker has answered: the next outage is worth a line again."""
        if self._away:
            self._away = False
            logger.warning("the Kafka broker at %s answers again", self._bootstrap)


class LibrdkafkaLog:
    """librdkafka's own log lines, as a client's `logger`.

    Failed connections are the Watch's to report, failed transactions and fencing are raised, and options of a consumer
    given to a producer are no mistake here."""

    QUIET = frozenset({"CONFWARN", "ERROR", "FAIL", "FATAL", "GETPID", "TXNERR"})

    def log(self, level: int, template: str, facility: str, client: str, text: str) -> None:
        """What confluent-kafka calls for each line."""
        logger.log(logging.DEBUG if facility in self.QUIET else level, template, facility, client, text)
