"""Contract tests of `topics/log.py` for every adapter. The numbers are those of its clauses.

Clauses 3 and 6 are in test_log_groups.py.
"""

from __future__ import annotations

import threading
import time

import pytest

from penstock.schemas.errors import (
    Fenced,
    LogError,
    OffsetOutOfRange,
    RecordTooLarge,
    TransactionAborted,
    UnknownTopic,
)
from penstock.topics.connect import connect
from penstock.topics.log import CommittedOffset, Log, Record, TopicSpec
from tests.contract.log_tools import (
    WAIT_S,
    Seat,
    begin_with,
    everything,
    make_topic,
    publish,
    recovered,
    seated,
    settle,
    unique,
    values,
    wait_for,
)

# 1. A published record gets the next offset of its partition.


def test_offsets_grow_in_the_order_of_publishing(log: Log) -> None:
    """Records of one publisher lie in their partition in the order sent, at growing offsets."""
    topic = make_topic(log, partitions=2)
    sent = [b"%d" % number for number in range(50)]
    publish(log, topic, sent, partition=1)
    records = everything(log, topic, 1)
    assert values(records) == sent
    offsets = [record.offset for record in records]
    assert offsets == sorted(set(offsets))
    assert everything(log, topic, 0) == []


def test_a_record_comes_back_as_it_was(log: Log) -> None:
    """Topic, partition, key and value survive, and empty bytes differ from none."""
    topic = make_topic(log, partitions=3)
    publisher = log.publisher()
    pairs: list[tuple[bytes | None, bytes | None]]
    pairs = [(None, b"value"), (b"key", None), (b"", b""), (b"\x00\xff", b"\xc3\x01" + bytes(range(256)))]
    for key, value in pairs:
        publisher.send(Record(topic, 2, key, value))
    publisher.flush(WAIT_S)
    publisher.close()
    records = everything(log, topic, 2)
    assert [(record.key, record.value) for record in records] == pairs
    assert {(record.topic, record.partition) for record in records} == {(topic, 2)}
    assert all(record.timestamp_ms > 1_600_000_000_000 for record in records)


def test_on_done_is_called_once_for_each_record(log: Log) -> None:
    """After `flush`, each record's `on_done` was called exactly once, with None."""
    topic = make_topic(log)
    publisher = log.publisher()
    answers: list[tuple[int, Exception | None]] = []
    for number in range(100):
        publisher.send(
            Record(topic, 0, None, b"%d" % number), lambda error, number=number: answers.append((number, error))
        )
    publisher.flush(WAIT_S)
    assert sorted(number for number, _ in answers) == list(range(100))
    assert {error for _, error in answers} == {None}
    publisher.close()


def _refusal(log: Log, record: Record) -> Exception | None:
    """A publisher's error for one record, whether raised or reported."""
    publisher = log.publisher()
    answers: list[Exception | None] = []
    try:
        publisher.send(record, answers.append)
        wait_for("the publisher's answer", lambda: bool(answers), lambda: time.sleep(0.01))
    except LogError as error:
        return error
    finally:
        publisher.close()
    assert len(answers) == 1
    return answers[0]


def test_publishing_to_an_unknown_topic_is_refused(log: Log) -> None:
    """A topic that does not exist is reported as UnknownTopic, by name."""
    topic = unique("absent")
    error = _refusal(log, Record(topic, 0, None, b"x"))
    assert isinstance(error, UnknownTopic)
    assert topic in str(error)


def test_publishing_to_an_unknown_partition_is_refused(log: Log) -> None:
    """A partition beyond the topic's last is reported as UnknownTopic."""
    assert isinstance(_refusal(log, Record(make_topic(log, partitions=2), 2, None, b"x")), UnknownTopic)


def test_publishing_too_large_a_record_is_refused(log: Log) -> None:
    """A record beyond the topic's max.message.bytes is reported as RecordTooLarge and the next one is unharmed."""
    topic = make_topic(log, max_message_bytes="10000")
    assert isinstance(_refusal(log, Record(topic, 0, None, b"x" * 20_000)), RecordTooLarge)
    publish(log, topic, [b"small"])
    assert values(everything(log, topic)) == [b"small"]


# 2. A transaction's records and offsets become visible together or not at all.


def test_a_transaction_shows_nothing_before_commit_and_all_after(log: Log) -> None:
    """Records on several partitions and the member's offsets appear with the commit."""
    source, target = make_topic(log), make_topic(log, partitions=2)
    publish(log, source, [b"in"])
    seat = seated(log, source)
    transactor = recovered(log)
    reader = log.reader({(target, 0): 0, (target, 1): 0})
    transactor.begin()
    transactor.produce([Record(target, 0, None, b"a"), Record(target, 1, None, b"b")])
    assert reader.read(10, 0.5) == []
    assert seat.member.committed([(source, 0)], WAIT_S) == {}
    transactor.offsets({(source, 0): CommittedOffset(1, "17")}, seat.member)
    transactor.commit()
    got: list[bytes | None] = []
    wait_for("both records", lambda: len(got) == 2, lambda: got.extend(values(reader.read(10, 0.2))))
    assert sorted(value or b"" for value in got) == [b"a", b"b"]
    assert seat.member.committed([(source, 0)], WAIT_S) == {(source, 0): CommittedOffset(1, "17")}
    reader.close()
    transactor.close()
    seat.member.close()


def test_an_aborted_transaction_leaves_nothing(log: Log) -> None:
    """After `abort` neither records nor offsets are there, and the same transactor goes on."""
    source, target = make_topic(log), make_topic(log)
    seat = seated(log, source)
    publish(log, source, [b"in"])
    transactor = recovered(log)
    begin_with(transactor, target, b"undone")
    transactor.offsets({(source, 0): CommittedOffset(1)}, seat.member)
    transactor.abort()
    assert everything(log, target) == []
    assert seat.member.committed([(source, 0)], WAIT_S) == {}
    begin_with(transactor, target, b"done")
    transactor.offsets({(source, 0): CommittedOffset(1)}, seat.member)
    transactor.commit()
    assert values(everything(log, target)) == [b"done"]
    transactor.close()
    seat.member.close()


def test_commit_tells_where_tracked_partitions_end(log: Log) -> None:
    """For each tracked partition, `commit` returns the offset after the last record; untracked ones are absent."""
    topic = make_topic(log, partitions=3)
    transactor = recovered(log)
    for value in (b"first", b"second"):
        transactor.begin()
        batch = [Record(topic, 0, None, value), Record(topic, 1, None, value), Record(topic, 0, None, value + b"!")]
        transactor.produce(batch, track=frozenset({(topic, 0), (topic, 2)}))
        landed = transactor.commit()
        assert landed == {(topic, 0): everything(log, topic, 0)[-1].offset + 1}
    transactor.close()


def test_a_transaction_of_many_records_keeps_their_order(log: Log) -> None:
    """Records produced in several calls lie in each partition in the order produced."""
    topic = make_topic(log, partitions=2)
    transactor = recovered(log)
    transactor.begin()
    for start in range(0, 1_000, 250):
        transactor.produce([Record(topic, n % 2, None, b"%d" % n) for n in range(start, start + 250)])
    transactor.commit()
    assert values(everything(log, topic, 0)) == [b"%d" % n for n in range(0, 1_000, 2)]
    assert values(everything(log, topic, 1)) == [b"%d" % n for n in range(1, 1_000, 2)]
    transactor.close()


def test_a_transaction_refuses_an_unknown_topic(log: Log) -> None:
    """`produce` to a missing topic or partition raises UnknownTopic; after `abort` nothing of the batch is there."""
    topic = make_topic(log)
    transactor = recovered(log)
    for bad in (Record(unique("absent"), 0, None, b"x"), Record(topic, 1, None, b"x")):
        transactor.begin()
        with pytest.raises(UnknownTopic):
            transactor.produce([Record(topic, 0, None, b"good"), bad])
        transactor.abort()
    assert everything(log, topic) == []
    transactor.close()


def test_a_transaction_refuses_too_large_a_record(log: Log) -> None:
    """`produce` raises RecordTooLarge; after `abort` nothing is there and the next transaction commits."""
    topic = make_topic(log, max_message_bytes="10000")
    transactor = recovered(log)
    transactor.begin()
    with pytest.raises(RecordTooLarge):
        transactor.produce([Record(topic, 0, None, b"x" * 20_000)])
    transactor.abort()
    begin_with(transactor, topic, b"x" * 5_000)
    transactor.commit()
    assert len(everything(log, topic)) == 1
    transactor.close()


# 4. `recover` settles what an earlier holder of the transactional id left open, and fences it.


def test_recover_aborts_what_the_earlier_holder_left_open_and_fences_it(log: Log) -> None:
    """The earlier holder's open transaction is aborted at once; its commit raises Fenced; the new holder continues."""
    topic, transactional_id = make_topic(log), unique("slot")
    earlier = recovered(log, transactional_id)
    begin_with(earlier, topic, b"left open")
    later = recovered(log, transactional_id)
    assert everything(log, topic) == []
    with pytest.raises(Fenced):
        earlier.commit()
    begin_with(later, topic, b"later")
    later.commit()
    assert values(everything(log, topic)) == [b"later"]
    earlier.close()
    later.close()


def test_recover_keeps_what_was_committed(log: Log) -> None:
    """A committed transaction of the earlier holder remains; recovering again on the same transactor is allowed."""
    topic, transactional_id = make_topic(log), unique("slot")
    earlier = recovered(log, transactional_id)
    begin_with(earlier, topic, b"kept")
    earlier.commit()
    earlier.close()
    later = recovered(log, transactional_id)
    later.recover(WAIT_S)
    begin_with(later, topic, b"more")
    later.commit()
    assert values(everything(log, topic)) == [b"kept", b"more"]
    later.close()


# 5. A committed read shows neither an open or aborted transaction nor what lies behind an open one.


def test_a_committed_read_never_skips_ahead_of_an_open_transaction(log: Log) -> None:
    """What a reader saw while transactions were open and settled is in the end the whole partition, in order."""
    topic = make_topic(log)
    first, second = recovered(log), recovered(log)
    reader = log.reader({(topic, 0): 0})
    seen: list[bytes | None] = []
    begin_with(first, topic, b"first")
    begin_with(second, topic, b"aborted")
    publish(log, topic, [b"plain"])
    seen += values(reader.read(10, 0.3))
    assert b"first" not in seen and b"aborted" not in seen
    second.abort()
    seen += values(reader.read(10, 0.3))
    first.commit()
    wait_for("two records", lambda: len(seen) >= 2, lambda: seen.extend(values(reader.read(10, 0.2))))
    assert sorted(value or b"" for value in seen) == [b"first", b"plain"]
    assert seen == values(everything(log, topic))
    reader.close()
    first.close()
    second.close()


# 7. Every wait is bounded.


def test_waits_end_without_records(log: Log) -> None:
    """`poll` and `read` on an idle topic return nothing, some time after their timeout."""
    topic = make_topic(log)
    seat = seated(log, topic)
    seat.member.start({(topic, 0): 0})
    reader = log.reader({(topic, 0): 0})
    for wait in (seat.member.poll, reader.read):
        began = time.monotonic()
        assert wait(10, 0.3) == []
        assert 0.2 < time.monotonic() - began < WAIT_S
        assert wait(10, 0.0) == []
    reader.close()
    seat.member.close()


def test_a_waiting_poll_is_woken_by_a_record(log: Log) -> None:
    """A record published during a long `poll` ends it early."""
    topic = make_topic(log)
    seat = seated(log, topic)
    seat.member.start({(topic, 0): 0})
    seat.poll(timeout_s=0.2)
    later = threading.Timer(0.3, publish, (log, topic, [b"wake"]))
    later.start()
    assert values(seat.member.poll(10, WAIT_S)) == [b"wake"]
    later.join()
    seat.member.close()


# The methods of Log.


def test_describe_tells_what_exists(log: Log) -> None:
    """`describe` gives partitions and settings of the topics named that exist, and of all when none is named."""
    topic = make_topic(log, partitions=3, cleanup_policy="compact", retention_ms="-1")
    facts = log.describe([topic, unique("absent")])
    assert set(facts) == {topic}
    assert (facts[topic].name, facts[topic].partitions) == (topic, 3)
    assert facts[topic].config["cleanup.policy"] == "compact"
    assert facts[topic].config["retention.ms"] == "-1"
    assert topic in log.describe()


def test_creating_again_changes_nothing(log: Log) -> None:
    """A topic that exists keeps its partitions, settings and records; new ones in the same call are made."""
    topic, other = make_topic(log, partitions=2, retention_ms="-1"), unique("contract")
    publish(log, topic, [b"kept"])
    log.create([TopicSpec(topic, 5, {"retention.ms": "1000"}), TopicSpec(other, 1, {})])
    facts = log.describe([topic, other])
    assert facts[topic].partitions == 2
    assert facts[topic].config["retention.ms"] == "-1"
    assert facts[other].partitions == 1
    assert values(everything(log, topic)) == [b"kept"]


def test_configure_changes_only_what_is_named(log: Log) -> None:
    """`configure` sets the named settings and leaves the others."""
    topic = make_topic(log, retention_ms="60000", cleanup_policy="delete")
    log.configure(topic, {"retention.ms": "120000"})

    def config() -> dict[str, str]:
        return dict(log.describe([topic])[topic].config)

    wait_for("the new setting", lambda: config()["retention.ms"] == "120000", lambda: time.sleep(0.05))
    assert config()["cleanup.policy"] == "delete"


def test_configure_of_an_unknown_topic_is_refused(log: Log) -> None:
    """A topic that does not exist cannot be configured."""
    with pytest.raises(UnknownTopic):
        log.configure(unique("absent"), {"retention.ms": "1"})


def test_ends_are_first_and_next(log: Log) -> None:
    """An empty partition has (0, 0); one with records the first kept and the next offset."""
    topic = make_topic(log, partitions=2)
    publish(log, topic, [b"0", b"1", b"2"])
    assert log.ends([(topic, 0), (topic, 1)]) == {(topic, 0): (0, 3), (topic, 1): (0, 0)}


def test_ends_of_an_unknown_topic_are_refused(log: Log) -> None:
    """A topic that does not exist has no ends."""
    with pytest.raises(UnknownTopic):
        log.ends([(unique("absent"), 0)])


def test_trim_deletes_below_and_keeps_offsets(log: Log) -> None:
    """After `trim` the first offset moved, the records above it kept theirs, and new ones follow on."""
    topic = make_topic(log, partitions=2)
    publish(log, topic, [b"0", b"1", b"2", b"3"])
    publish(log, topic, [b"other"], partition=1)
    log.trim({(topic, 0): 3})
    assert log.ends([(topic, 0), (topic, 1)]) == {(topic, 0): (3, 4), (topic, 1): (0, 1)}
    publish(log, topic, [b"4"])
    assert [(record.offset, record.value) for record in everything(log, topic, start=3)] == [(3, b"3"), (4, b"4")]
    log.trim({(topic, 0): 5})
    assert log.ends([(topic, 0)]) == {(topic, 0): (5, 5)}


def test_reading_outside_of_the_log_is_refused(log: Log) -> None:
    """Below what is kept and beyond the end, `read_to_end` raises OffsetOutOfRange; exactly at the end it is empty."""
    topic = make_topic(log)
    publish(log, topic, [b"0", b"1", b"2"])
    log.trim({(topic, 0): 2})
    for start in (0, 1, 4, 1_000):
        with pytest.raises(OffsetOutOfRange):
            everything(log, topic, start=start)
    assert everything(log, topic, start=3) == []
    assert values(everything(log, topic, start=2)) == [b"2"]


def test_a_member_started_outside_of_the_log_raises(log: Log) -> None:
    """A position that was trimmed away raises OffsetOutOfRange from `poll` and is never skipped silently."""
    topic = make_topic(log)
    publish(log, topic, [b"0", b"1", b"2"])
    log.trim({(topic, 0): 2})
    seat = seated(log, topic)
    seat.member.start({(topic, 0): 0})
    with pytest.raises(OffsetOutOfRange):
        wait_for("OffsetOutOfRange", lambda: bool(seat.received), seat.poll)
    seat.member.close()


def test_read_to_end_stops_at_the_end_as_it_was(log: Log) -> None:
    """Records appended while reading do not prolong it for ever; all earlier ones are returned, in batches."""
    topic = make_topic(log)
    sent = [b"%d" % n for n in range(3_000)]
    publish(log, topic, sent)
    got: list[bytes | None] = []
    for batch in log.read_to_end(topic, 0, 0, WAIT_S):
        assert batch
        got += values(batch)
        if len(got) <= len(sent):
            publish(log, topic, [b"later"])
    assert got[: len(sent)] == sent
    assert set(got[len(sent) :]) <= {b"later"}


def test_a_reader_from_the_end_sees_only_what_comes(log: Log) -> None:
    """Position -1 means the end at the creation of the reader."""
    topic = make_topic(log)
    publish(log, topic, [b"before"])
    reader = log.reader({(topic, 0): -1})
    publish(log, topic, [b"after"])
    got: list[bytes | None] = []
    wait_for("a record", lambda: bool(got), lambda: got.extend(values(reader.read(10, 0.2))))
    assert got + values(reader.read(10, 0.2)) == [b"after"]
    reader.close()


def test_a_reader_goes_on_over_aborted_transactions(log: Log) -> None:
    """Aborted records between committed ones leave a gap at most."""
    topic = make_topic(log)
    transactor = recovered(log)
    for number in range(4):
        begin_with(transactor, topic, b"%d" % number)
        if number % 2:
            transactor.abort()
        else:
            transactor.commit()
    assert values(everything(log, topic)) == [b"0", b"2"]
    transactor.close()


def test_a_second_connection_sees_the_same_log(shared_log_url: str) -> None:
    """Two connections to one URL share topics, records, offsets and groups."""
    first, second = connect(shared_log_url), connect(shared_log_url)
    topic, group = make_topic(first, partitions=2), unique("group")
    publish(first, topic, [b"x"])
    wait_for("the topic", lambda: topic in second.describe([topic]), lambda: time.sleep(0.05))
    assert values(everything(second, topic)) == [b"x"]
    seats = [Seat(first, group, [topic]), Seat(second, group, [topic])]
    settle("one partition each", seats, lambda: all(len(seat.held) == 1 for seat in seats))
    for seat in seats:
        seat.member.close()
    transactor = recovered(first, group)
    recovered(second, group).close()
    transactor.begin()
    with pytest.raises((Fenced, TransactionAborted)):
        transactor.produce([Record(topic, 0, None, b"fenced")])
        transactor.commit()
    assert values(everything(second, topic)) == [b"x"]
    first.close()
    second.close()
