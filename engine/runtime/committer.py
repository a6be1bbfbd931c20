"""How does a transaction happen while the next one is decided? On a thread of its own, one at a time.

begin → produce → offsets → commit        a refusal on the way aborts; the outcome is told, never guessed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import msgspec
import structlog

from penstock.schemas.errors import LogError, OutcomeUnknown
from penstock.topics.log import Member, Record, TopicPartition, Transactor

log = structlog.get_logger(__name__)


class Transaction(msgspec.Struct, frozen=True):
    """All that becomes visible at once: records, and the next offsets of the inputs they came from."""

    records: Sequence[Record]
    offsets: Mapping[TopicPartition, int]
    track: frozenset[TopicPartition]


class Outcome(msgspec.Struct, frozen=True):
    """How a transaction ended. `ends`: offset + 1 of the last record on each tracked partition, when committed."""

    ends: Mapping[TopicPartition, int]
    error: Exception | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether it may have committed after all."""
        return isinstance(self.error, OutcomeUnknown)


def commit(transactor: Transactor, member: Member, transaction: Transaction) -> Outcome:
    """Do the whole transaction. A crash between any two steps leaves nothing visible, or all of it."""
    try:
        transactor.begin()
        transactor.produce(transaction.records, transaction.track)
        transactor.offsets(transaction.offsets, member)
        return Outcome(transactor.commit())
    except OutcomeUnknown as error:
        return Outcome({}, error)
    except LogError as error:
        return Outcome({}, _abort(transactor, error))
    except AssertionError:
        raise
    except Exception as error:
        log.exception("a transaction's step failed as no adapter should; its outcome counts as unknown")
        return Outcome({}, OutcomeUnknown(f"{type(error).__name__}: {error}"))


def _abort(transactor: Transactor, error: LogError) -> LogError:
    """Give the transaction up; `error`, or what is worse: nobody knows how it ended."""
    try:
        transactor.abort()
    except OutcomeUnknown as unknown:
        return unknown
    except LogError as worse:
        return OutcomeUnknown(f"{error}; then aborting failed: {worse}")
    return error


class Committer(Protocol):
    """Runs transactions one after the other."""

    def submit(self, transactor: Transactor, member: Member, transaction: Transaction) -> Future[Outcome]:
        """Begin this transaction; the one before has ended."""
        ...

    def close(self) -> None: ...


class ThreadCommitter:
    """Commits on a thread: waiting for the broker lets go of the interpreter lock, so that deciding goes on."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="penstock-commit")

    def submit(self, transactor: Transactor, member: Member, transaction: Transaction) -> Future[Outcome]:
        """Begin this transaction on the thread."""
        return self._pool.submit(commit, transactor, member, transaction)

    def close(self) -> None:
        """Let the thread go."""
        self._pool.shutdown(wait=False)
