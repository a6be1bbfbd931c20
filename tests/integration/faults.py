"""Log and stores that end the process at a chosen step of a chosen transaction.

Run as a program it is a processor with such a log: `python -m tests.integration.faults URL DATA STEP NTH`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.engine.authoring.definition import registered_workflows
from penstock.engine.authoring.signal import declared_signals
from penstock.engine.core.hosted import Hosted
from penstock.engine.runtime.processor import Processor
from penstock.engine.store.store import Store
from penstock.topics.admin import declared_shards
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from penstock.topics.log import CommittedOffset, Log, Member, Record, TopicPartition, Transactor
from tests.integration import flows

STEPS = ("before produce", "after produce", "after offsets", "after commit", "after store write")
DIED = 9


class Fuse:
    """Ends the process when `step` is reached for the `nth` time."""

    def __init__(self, step: str, nth: int) -> None:
        self.step, self.left = step, nth

    def reached(self, step: str) -> None:
        """Count; at the chosen step exit at once, as by SIGKILL."""
        if step == self.step:
            self.left -= 1
            if self.left == 0:
                os._exit(DIED)


class FusedTransactor:
    """A Transactor with the fuse between its steps."""

    def __init__(self, inner: Transactor, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def produce(self, records: Sequence[Record], track: frozenset[TopicPartition] = frozenset()) -> None:
        self._fuse.reached("before produce")
        self._inner.produce(records, track)
        self._fuse.reached("after produce")

    def offsets(self, offsets: Mapping[TopicPartition, CommittedOffset], member: Member) -> None:
        self._inner.offsets(offsets, member)
        self._fuse.reached("after offsets")

    def commit(self) -> Mapping[TopicPartition, int]:
        ends = self._inner.commit()
        self._fuse.reached("after commit")
        return ends


class FusedLog:
    """A Log whose transactors carry the fuse."""

    def __init__(self, inner: Log, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def transactor(self, transactional_id: str) -> Any:
        return FusedTransactor(self._inner.transactor(transactional_id), self._fuse)


class FusedStore:
    """A Store with the fuse behind each layer's write (a restore's writes do not count)."""

    def __init__(self, inner: Store, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def get(self, key: bytes) -> bytes | None:
        return self._inner.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self._inner.scan(start, stop)

    def write(self, rows: Mapping[bytes, bytes | None]) -> None:
        self._inner.write(rows)
        if b"S" in rows:
            self._fuse.reached("after store write")

    def wipe(self) -> None:
        self._inner.wipe()

    def close(self) -> None:
        self._inner.close()


class FusedProcessor(Processor):
    """A processor over fused stores."""

    fuse: Fuse

    def _open_store(self, shard: int) -> Store:
        return FusedStore(super()._open_store(shard), self.fuse)


def main(url: str, namespace: str, data: str, step: str, nth: str) -> None:
    """Run a processor until its fuse blows."""
    fuse = Fuse(step, int(nth))
    log = connect(url)
    topics = Topics(namespace)
    shards = declared_shards(log, topics)
    assert shards is not None, "the namespace was not declared"
    assert flows.five.name in registered_workflows()
    fused: Any = FusedLog(log, fuse)
    hosted = Hosted(registered_workflows(), declared_signals())
    processor = FusedProcessor(fused, topics, shards, hosted, data=Path(data))
    processor.fuse = fuse
    signal.signal(signal.SIGTERM, lambda *_: processor.stop())
    processor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
