"""Processor that is stopped by the test until it is evicted. Run as a process of its own.

Arguments: log URL, group, input topic, output topic. It owns the input, opens a transaction, writes into it, prints
`ready`, waits for a line on stdin, then tries to commit and prints the outcome.
"""

from __future__ import annotations

import contextlib
import sys

from penstock.schemas.errors import Fenced, OutcomeUnknown, TransactionAborted
from penstock.topics.connect import connect
from penstock.topics.log import CommittedOffset, Record
from tests.contract.log_tools import WAIT_S, Seat, unique


def main(url: str, group: str, source: str, target: str) -> None:
    """Begin, wait, commit."""
    log = connect(url)
    seat = Seat(log, group, [source])
    seat.until_granted(1)
    transactor = log.transactor(unique("zombie"))
    transactor.recover(WAIT_S)
    transactor.begin()
    transactor.produce([Record(target, 0, b"zombie", b"from the zombie")])
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        transactor.offsets({(source, 0): CommittedOffset(1)}, seat.member)
        transactor.commit()
        print("committed", flush=True)
    except (Fenced, TransactionAborted) as error:
        print(type(error).__name__, flush=True)
        with contextlib.suppress(Fenced, OutcomeUnknown):  # the successor may have settled it already
            transactor.abort()


if __name__ == "__main__":
    main(*sys.argv[1:])
