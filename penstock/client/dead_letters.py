"""Dead letters: list, replay to the original topic, discard.

Single records of a log cannot be deleted. A mark on `dead-letters` records that a letter was handled: a DeadLetter with
reason `replayed` or `discarded` whose position (topic, partition, offset) is that of the letter.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import msgspec

from penstock.schemas.encoding.codec import decode, encode
from penstock.schemas.errors import BadName, Undecodable, UnknownTopic
from penstock.schemas.records.dead_letters import DeadLetter
from penstock.topics.catalogue import Topics, creation_advice
from penstock.topics.log import Log, Record
from penstock.topics.partitioner import partition_of
from penstock.topics.publishing import publish

READ_TIMEOUT_S = 30.0
REPLAYED, DISCARDED = "replayed", "discarded"


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter and its position on `dead-letters`. `done`: `replayed`, `discarded`, or empty."""

    partition: int
    offset: int
    letter: DeadLetter
    done: str = ""

    @property
    def position(self) -> str:
        """The letter's name on the command line: `PARTITION/OFFSET`."""
        return f"{self.partition}/{self.offset}"


class LetterNotFound(BadName):
    """No dead letter has this position."""


def letters(log: Log, topics: Topics) -> list[Letter]:
    """Return every letter that is kept, in the order of the log. Raises UnknownTopic, LogUnavailable."""
    described = log.describe([topics.dead_letters]).get(topics.dead_letters)
    if described is None:
        raise UnknownTopic(f"the topic {topics.dead_letters} does not exist: {creation_advice()} first.")
    found: dict[tuple[int, int], DeadLetter] = {}
    done: dict[tuple[int, int], str] = {}
    for partition in range(described.partitions):
        for offset, letter in _records(log, topics, partition):
            if letter.topic == topics.dead_letters and letter.reason in (REPLAYED, DISCARDED):
                done[letter.partition, letter.offset] = letter.reason
            else:
                found[partition, offset] = letter
    return [
        Letter(partition=partition, offset=offset, letter=letter, done=done.get((partition, offset), ""))
        for (partition, offset), letter in found.items()
    ]


def letter_at(log: Log, topics: Topics, position: str) -> Letter:
    """Return the letter at `PARTITION/OFFSET`. Raises LetterNotFound, BadName, LogError."""
    partition, slash, offset = position.partition("/")
    if not (slash and partition.isdecimal() and offset.isdecimal()):
        raise BadName(
            f"{position!r} is not the position of a dead letter: write PARTITION/OFFSET as "
            "`penstock dead-letters list` prints it."
        )
    wanted = (int(partition), int(offset))
    for letter in letters(log, topics):
        if (letter.partition, letter.offset) == wanted:
            return letter
    raise LetterNotFound(f"there is no dead letter {position}; it may have expired: see `penstock dead-letters list`.")


def replay(log: Log, topics: Topics, chosen: Sequence[Letter]) -> None:
    """Append each record unchanged to its original topic, and mark its letter. Raises UnknownTopic, LogError.

    Records with a key go to the partition of their key, since a wrong partition may be why they were refused.
    """
    described = log.describe(sorted({letter.letter.topic for letter in chosen}))
    for letter in chosen:
        if letter.letter.topic not in described:
            raise UnknownTopic(f"dead letter {letter.position} came from {letter.letter.topic}, which does not exist.")
    records = []
    for letter in chosen:
        original = letter.letter
        partitions = described[original.topic].partitions
        # Task topics are partitioned by shard, not by key: those records return to their original partition.
        keyed = bool(original.key) and original.topic in (topics.commands, topics.results)
        partition = partition_of(original.key, partitions) if keyed else original.partition % partitions
        record = Record(original.topic, partition, original.key or None, original.value)
        records += [record, _mark(topics, letter, REPLAYED)]
    publish(log, records, READ_TIMEOUT_S)


def discard(log: Log, topics: Topics, chosen: Sequence[Letter]) -> None:
    """Mark each letter as discarded; its bytes stay until the topic's retention ends. Raises LogError."""
    publish(log, [_mark(topics, letter, DISCARDED) for letter in chosen], READ_TIMEOUT_S)


def _records(log: Log, topics: Topics, partition: int) -> Iterator[tuple[int, DeadLetter]]:
    first, _ = log.ends([(topics.dead_letters, partition)])[topics.dead_letters, partition]
    for batch in log.read_to_end(topics.dead_letters, partition, first, READ_TIMEOUT_S):
        for record in batch:
            try:
                letter = decode(record.value or b"")
            except Undecodable as error:
                letter = DeadLetter(
                    topic=record.topic, partition=record.partition, offset=record.offset, key=record.key or b"",
                    value=record.value or b"", reason="undecodable", message=str(error), at_ms=record.timestamp_ms,
                )  # fmt: skip
            if isinstance(letter, DeadLetter):
                yield record.offset, letter


def _mark(topics: Topics, letter: Letter, reason: str) -> Record:
    mark = DeadLetter(
        topic=topics.dead_letters,
        partition=letter.partition,
        offset=letter.offset,
        key=letter.letter.key,
        value=b"",
        reason=reason,
        message=f"this letter was {reason} by hand.",
        at_ms=time.time_ns() // 1_000_000,
    )
    return Record(topics.dead_letters, letter.partition, letter.letter.key or None, encode(mark))
