"""Logs to measure on: a Kafka broker of the benchmark's own or a given one, and fresh embedded files."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it does not say what it exports
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from tests.kafka_broker import Broker

ADMIN_S = 60.0
COMPACTION_LAG_MS = 24 * 3_600_000


class Place:
    """A log's URL, the folder of everything that is written, and the broker if the benchmark started it."""

    def __init__(self, url: str, folder: Path, broker: Broker | None) -> None:
        self.url, self.folder, self.broker = url, folder, broker

    @property
    def bootstrap(self) -> str:
        """Kafka's address; empty on the embedded log."""
        return self.url.removeprefix("kafka://") if self.url.startswith("kafka:") else ""

    def put_compaction_off(self) -> None:
        """Keep compacted records for a day, on a broker that the benchmark started, so that all can be counted."""
        if self.broker is None:
            return
        lag = ConfigEntry(
            "log.cleaner.min.compaction.lag.ms", str(COMPACTION_LAG_MS), incremental_operation=AlterConfigOpType.SET
        )
        admin = self._admin()
        nodes = [str(number) for number in admin.list_topics(timeout=ADMIN_S).brokers]
        settings = [ConfigResource(ConfigResource.Type.BROKER, node, incremental_configs=[lag]) for node in nodes]
        for future in admin.incremental_alter_configs(settings).values():
            future.result(ADMIN_S)

    def delete_topics(self, prefix: str) -> None:
        """Delete the topics whose names begin with `prefix`, if this is Kafka; an embedded file is temporary."""
        if not self.bootstrap:
            return
        admin = self._admin()
        names = [name for name in admin.list_topics(timeout=ADMIN_S).topics if name.startswith(prefix)]
        for future in admin.delete_topics(names).values() if names else []:
            future.result(ADMIN_S)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})


@contextlib.contextmanager
def kafka() -> Iterator[Place]:
    """The Kafka of PENSTOCK_TEST_KAFKA (its CPU time and requests stay unknown), or a broker started for the run."""
    given = os.environ.get("PENSTOCK_TEST_KAFKA")
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        if given:
            yield Place(f"kafka://{given}", Path(folder), None)
            return
        with Broker() as broker:
            yield Place(f"kafka://{broker.bootstrap}", Path(folder), broker)


@contextlib.contextmanager
def embedded() -> Iterator[Place]:
    """A file on the disk of the system's temporary folder."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        yield Place(f"embedded:{folder}/{uuid.uuid4().hex[:8]}.sqlite3", Path(folder), None)
