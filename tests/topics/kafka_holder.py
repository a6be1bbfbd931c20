"""Process that is killed during a transaction.

Arguments: bootstrap servers, topic, transactional id. It writes one record in a transaction that stays open, waits
until the broker has it, prints `open` and sleeps until it is killed.
"""

from __future__ import annotations

import sys
import time

from penstock.topics.kafka import KafkaLog
from penstock.topics.log import Record
from tests.contract.log_tools import WAIT_S, wait_for


def main(bootstrap: str, topic: str, transactional_id: str) -> None:
    """Begin a transaction, write, sleep."""
    log = KafkaLog(bootstrap)
    transactor = log.transactor(transactional_id)
    transactor.recover(WAIT_S)
    transactor.begin()
    transactor.produce([Record(topic, 0, None, b"never committed")])
    wait_for("the record to arrive", lambda: log.ends([(topic, 0)])[topic, 0][1] > 0, lambda: time.sleep(0.02))
    print("open", flush=True)
    time.sleep(WAIT_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
