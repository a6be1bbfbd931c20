"""Commit of one turn by a transaction of the log: the first adapter of engine/runtime/commit.py, over both logs.

begin → produce → offsets → commit; a refusal on the way aborts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
import structlog

from penstock.schemas.errors import LogError, OutcomeUnknown
from penstock.topics.log import CommittedOffset, Member, Record, TopicPartition, Transactor

logger = structlog.get_logger(__name__)


class Turn(msgspec.Struct, frozen=True):
    """Everything that one turn of a processor commits.

    `changelog`: the rows that become durable. `outputs`: records that leave with them. `offsets`: next offset of each
    input partition that the turn consumed, with the number of the shard's transaction."""

    changelog: Sequence[Record]
    outputs: Sequence[Record]
    offsets: Mapping[TopicPartition, CommittedOffset]


class Outcome(msgspec.Struct, frozen=True):
    """How a commit ended. `ends`, if committed: offset + 1 of the last record on each changelog partition."""

    ends: Mapping[TopicPartition, int]
    error: Exception | None = None


def commit(transactor: Transactor, member: Member, turn: Turn) -> Outcome:
    """Run the whole transaction. A crash between any two steps leaves all of it visible, or nothing."""
    tracked = frozenset([(record.topic, record.partition) for record in turn.changelog])
    try:
        transactor.begin()
        transactor.produce([*turn.outputs, *turn.changelog], tracked)
        transactor.offsets(turn.offsets, member)
        return Outcome(transactor.commit())
    except OutcomeUnknown as error:
        return Outcome({}, error)
    except LogError as error:
        return Outcome({}, _abort(transactor, error))
    except AssertionError:
        raise
    except Exception as error:
        logger.exception("a transaction's step failed unexpectedly; its outcome counts as unknown")
        return Outcome({}, OutcomeUnknown(f"{type(error).__name__}: {error}"))


def _abort(transactor: Transactor, error: LogError) -> LogError:
    """Abort the transaction. Returns `error`, or OutcomeUnknown if aborting failed."""
    try:
        transactor.abort()
    except OutcomeUnknown as unknown:
        return unknown
    except LogError as worse:
        return OutcomeUnknown(f"{error}; then aborting failed: {worse}")
    return error


class TransactionalCommits:
    """Commits turns on its own thread: waiting for the broker releases the interpreter lock, so deciding goes on."""

    def __init__(self, transactor: Transactor) -> None:
        self._transactor = transactor
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="penstock-commit")

    def submit(self, turn: Turn, member: Member) -> Future[Outcome]:
        """Start to commit a turn."""
        return self._pool.submit(commit, self._transactor, member, turn)

    def recover(self, timeout_s: float) -> None:
        """Settle what is open under this id."""
        self._transactor.recover(timeout_s)

    def close(self) -> None:
        """Close the transactor and end the thread."""
        self._pool.shutdown(wait=False)
        self._transactor.close()
