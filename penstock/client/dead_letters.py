"""What lies on `dead-letters`, and how is it dealt with? Listed, sent again to where it came from, or set aside.

A log has no deleting of single records. So that a letter was dealt with is itself a record on `dead-letters`: a
DeadLetter with reason `replayed` or `discarded`, whose place (topic, partition, offset) is the letter's own. Letters
that have such a mark count as done.
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
    """A dead letter and its place on `dead-letters`. `done`: `replayed`, `discarded`, or empty."""

    partition: int
    offset: int
    letter: DeadLetter
    done: str = ""

    @property
    def place(self) -> str:
        """How the letter is named on the command line: `PARTITION/OFFSET`."""
        return f"{self.partition}/{self.offset}"


class LetterNotFound(BadName):
    """No dead letter lies there."""


def letters(log: Log, topics: Topics) -> list[Letter]:
    """Every letter kept, in the order of the log. Raises UnknownTopic, LogUnavailable."""
    facts = log.describe([topics.dead_letters]).get(topics.dead_letters)
    if facts is None:
        raise UnknownTopic(f"the topic {topics.dead_letters} does not exist: {creation_advice()} first.")
    found: dict[tuple[int, int], DeadLetter] = {}
    done: dict[tuple[int, int], str] = {}
    for partition in range(facts.partitions):
        for offset, letter in _records(log, topics, partition):
            if letter.topic == topics.dead_letters and letter.reason in (REPLAYED, DISCARDED):
                done[letter.partition, letter.offset] = letter.reason
            else:
                found[partition, offset] = letter
    return [
        Letter(partition=partition, offset=offset, letter=letter, done=done.get((partition, offset), ""))
        for (partition, offset), letter in found.items()
    ]


def letter_at(log: Log, topics: Topics, place: str) -> Letter:
    """The letter at `PARTITION/OFFSET`. Raises LetterNotFound, BadName, LogError."""
    partition, slash, offset = place.partition("/")
    if not (slash and partition.isdecimal() and offset.isdecimal()):
        raise BadName(f"{place!r} names no dead letter: write PARTITION/OFFSET as `penstock dead-letters list` does.")
    wanted = (int(partition), int(offset))
    for letter in letters(log, topics):
        if (letter.partition, letter.offset) == wanted:
            return letter
    raise LetterNotFound(f"there is no dead letter {place} (any more); see `penstock dead-letters list`.")


def replay(log: Log, topics: Topics, chosen: Sequence[Letter]) -> None:
    """Append each record, as it was, to the topic it lay on, and mark its letter. Raises UnknownTopic, LogError.

    Records with a key go to the partition of their key, since a wrong one may be why they are here.
    """
    facts = log.describe(sorted({letter.letter.topic for letter in chosen}))
    for letter in chosen:
        if letter.letter.topic not in facts:
            raise UnknownTopic(f"dead letter {letter.place} came from {letter.letter.topic}, which does not exist.")
    records = []
    for letter in chosen:
        was = letter.letter
        partitions = facts[was.topic].partitions
        # Task topics have partitions by shard, not by key: those records go back to where they lay.
        keyed = bool(was.key) and was.topic in (topics.commands, topics.results)
        partition = partition_of(was.key, partitions) if keyed else was.partition % partitions
        records += [Record(was.topic, partition, was.key or None, was.value), _mark(topics, letter, REPLAYED)]
    publish(log, records, READ_TIMEOUT_S)


def discard(log: Log, topics: Topics, chosen: Sequence[Letter]) -> None:
    """Mark each letter as set aside; its bytes stay until the topic's retention ends. Raises LogError."""
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
