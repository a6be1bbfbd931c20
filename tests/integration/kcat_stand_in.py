"""What does `kcat -P -b BROKER -t TOPIC -k KEY` do where kcat is not installed? The same: each line of stdin a record.

It has librdkafka place the records by its default partitioner, as kcat does: CRC32 of the key.
"""

from __future__ import annotations

import argparse
import sys

from confluent_kafka import Producer


def main() -> None:
    """Produce what stdin holds."""
    parser = argparse.ArgumentParser(prog="kcat")
    parser.add_argument("-P", action="store_true", required=True, dest="produce")
    parser.add_argument("-b", required=True, dest="broker")
    parser.add_argument("-t", required=True, dest="topic")
    parser.add_argument("-k", required=True, dest="key")
    arguments = parser.parse_args()
    producer = Producer({"bootstrap.servers": arguments.broker})
    for line in sys.stdin:
        producer.produce(arguments.topic, line.rstrip("\n").encode(), arguments.key.encode())
    left = producer.flush(30)
    sys.exit(f"{left} records were not delivered" if left else 0)


if __name__ == "__main__":
    main()
