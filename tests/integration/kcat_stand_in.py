"""Replacement of `kcat` where it is not installed, for the options that our documents use: -P and -C.

    kcat -P -b BROKER -t TOPIC -k KEY               each line of stdin a record
    kcat -C -e -b BROKER -t TOPIC -X … -f FORMAT    all records of the topic

librdkafka's default partitioner places the records, as with kcat: CRC32 of the key.
"""

from __future__ import annotations

import argparse
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

PATIENCE_S = 30


def main() -> None:
    """Produce the lines of stdin, or print the records of the topic."""
    parser = argparse.ArgumentParser(prog="kcat")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("-P", action="store_true", dest="produce")
    parser.add_argument("-q", action="store_true", dest="quiet")
    way.add_argument("-C", action="store_true", dest="consume")
    parser.add_argument("-b", required=True, dest="broker")
    parser.add_argument("-t", required=True, dest="topic")
    parser.add_argument("-k", dest="key")
    parser.add_argument("-X", action="append", default=[], dest="settings")
    parser.add_argument("-f", dest="format")
    parser.add_argument("-e", action="store_true", dest="to_the_end")
    parser.add_argument("-u", action="store_true", dest="unbuffered")
    arguments = parser.parse_args()
    settings = {"bootstrap.servers": arguments.broker, **dict(one.split("=", 1) for one in arguments.settings)}
    if arguments.produce:
        produce(settings, arguments.topic, arguments.key)
    else:
        consume(settings, arguments.topic, arguments.format)


def produce(settings: dict[str, str], topic: str, key: str) -> None:
    producer = Producer(settings)
    for line in sys.stdin:
        producer.produce(topic, line.rstrip("\n").encode(), key.encode())
    left = producer.flush(PATIENCE_S)
    sys.exit(f"{left} records were not delivered" if left else 0)


def consume(settings: dict[str, str], topic: str, format: str) -> None:
    consumer = Consumer({**settings, "group.id": "kcat", "enable.partition.eof": True, "enable.auto.commit": False})
    numbers = set(consumer.list_topics(topic, PATIENCE_S).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers])
    while numbers:
        message = consumer.poll(PATIENCE_S)
        if message is None:
            sys.exit(f"nothing came for {PATIENCE_S} s")
        error = message.error()
        if error is None:
            sys.stdout.buffer.write(shown(message, format))
        elif error.code() == KafkaError._PARTITION_EOF:
            numbers.discard(message.partition())
        else:
            raise KafkaException(error)
    consumer.close()


def shown(message: Message, format: str) -> bytes:
    value = message.value() or b""
    parts = {
        b"\\n": b"\n",
        b"%T": str(message.timestamp()[1]).encode(),
        b"%k": message.key() or b"",
        b"%R": len(value).to_bytes(4),
    }
    text = format.encode()
    for sign, part in parts.items():
        text = text.replace(sign, part)
    return text.replace(b"%s", value)


if __name__ == "__main__":
    main()
