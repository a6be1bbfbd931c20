"""Worker as a process of a test: python -m tests.integration.worker_host URL NAMESPACE"""

from __future__ import annotations

import signal
import sys

from penstock.topics.catalogue import Topics
from penstock.topics.connect import connect
from penstock.workers.activity.decorator import registered
from penstock.workers.worker import Worker
from tests.integration import flows


def main(url: str, namespace: str) -> None:
    """Run the activities of the queue `default` until SIGTERM."""
    log = connect(url)
    assert flows.stand_by.name in registered()
    worker = Worker(log, Topics(namespace), registered(), queues=["default"], threads=4, drain_timeout_s=2.0)
    signal.signal(signal.SIGTERM, lambda *_: worker.request_stop())
    worker.run()
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
