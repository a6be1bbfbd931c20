"""Processor with settings of its own, which can stop itself, as a process of a test:

python -m tests.integration.host URL NAMESPACE DATA SETTINGS [STEP NTH]

SETTINGS is a DriverSettings as JSON. With STEP (faults.STEPS) the process stops itself, as by SIGSTOP from outside,
when that step of a commit is reached for the NTH time; it continues when it receives SIGCONT.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from penstock.api.read_server import ReadServer
from penstock.engine.authoring.definition import registered_workflows
from penstock.engine.authoring.signal import declared_signals
from penstock.engine.core.hosted import Hosted
from penstock.engine.runtime.driver import DriverSettings
from penstock.topics.admin import declared_shards
from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from tests.integration import flows
from tests.integration.faults import Fuse, FusedLog, FusedProcessor


class Slumber(Fuse):
    """Stops the process when `step` is reached for the `nth` time."""

    def reached(self, step: str) -> None:
        """Count; at the chosen step stop until SIGCONT arrives."""
        if step == self.step:
            self.left -= 1
            if self.left == 0:
                # To this thread, which then stops here; sent to the process, it could reach the next step first.
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def main(url: str, namespace: str, data: str, settings: str, step: str = "never", nth: str = "1") -> None:
    """Run a processor until SIGTERM."""
    slumber = Slumber(step, int(nth))
    log = connect(url)
    topics = Topics(namespace)
    shards = declared_shards(log, topics)
    assert shards is not None, "the namespace was not declared"
    assert flows.five.name in registered_workflows()
    server = ReadServer(lambda: processor.stores(), shards)
    fused: Any = FusedLog(log, slumber)
    processor = FusedProcessor(
        fused,
        topics,
        shards,
        Hosted(registered_workflows(), declared_signals()),
        data=Path(data),
        address=server.address,
        settings=msgspec.json.decode(settings, type=DriverSettings),
    )
    processor.fuse = slumber
    signal.signal(signal.SIGTERM, lambda *_: processor.stop())
    server.start()
    processor.run()
    server.stop()
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
