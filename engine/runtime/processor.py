"""A running processor: a driver on a thread, its state directory, and an orderly end."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from penstock.engine.core.hosted import Hosted
from penstock.engine.execution import guards
from penstock.engine.runtime.driver import Driver, DriverSettings, wall_clock_ms
from penstock.engine.runtime.plausible import PlausibleClock
from penstock.engine.runtime.slot import Slot
from penstock.engine.runtime.watch import Watch
from penstock.engine.store.memory import MemoryStore
from penstock.engine.store.store import Store, StoreReader
from penstock.schemas.errors import LogUnavailable, StoreCorrupt, StoreLocked
from penstock.topics.catalogue import Topics
from penstock.topics.commit import TransactionalCommits
from penstock.topics.log import Log

logger = structlog.get_logger(__name__)

AWAY_PAUSE_S = 0.5
LOCK_PATIENCE_S = 5.0
READ_PATIENCE_S = 2.0


class Processor:
    """Decides the workflows of the shards that it is granted. `data`: state directory, None for memory (tests)."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        shards: int,
        hosted: Hosted,
        *,
        data: Path | None = None,
        transactional_id: str | None = None,
        address: Callable[[], str] | str = "",
        settings: DriverSettings = DriverSettings(),
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._log, self._topics, self._shards, self._hosted = log, topics, shards, hosted
        self._clock_ms = PlausibleClock(clock_ms) if clock_ms is wall_clock_ms else clock_ms
        self._data = data / topics.namespace if data is not None else None
        self._transactional_id, self._address, self._settings = transactional_id, address, settings
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._driver: Driver | None = None
        self._slot: Slot | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Process until `stop`, then drain. Raises LogError, StoreError: the processor cannot go on."""
        guards.install()
        commits: TransactionalCommits | None = None
        try:
            if self._data is not None:
                self._slot = Slot(self._data)
            transactional_id = self._name()
            commits = TransactionalCommits(self._log.transactor(transactional_id))
            driver = self._driver = self._make(commits, transactional_id)
            try:
                settings = self._settings
                with Watch(threading.get_ident(), settings.slow_activation_s, settings.activation_deadline_s):
                    self._turn(driver)
                    driver.close()
            finally:
                driver.abandon()
        finally:
            if commits is not None:
                commits.close()
            if self._slot is not None:
                self._slot.close()

    def start(self) -> None:
        """Run on a thread of its own; `error` keeps what ended it early."""

        def run() -> None:
            try:
                self.run()
            except BaseException as error:  # noqa: BLE001 - kept in `error`
                self.error = error
                self._stopping.set()

        self._thread = threading.Thread(target=run, name="penstock-processor", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Settle the turn in flight, release the shards, leave the group. Returns after `timeout_s` at the latest."""
        self._stopping.set()
        self._log.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    @property
    def is_running(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def stores(self) -> Mapping[int, StoreReader]:
        """The stores of the shards it owns now: committed rows, readable from any thread.

        They hold everything that a reply received so far reported. None while the group may have given the shards to
        another processor."""
        if self._driver is None or not self._driver.contact.holds():
            return {}
        self._driver.wait_settled(READ_PATIENCE_S)
        return self._driver.stores()

    def _name(self) -> str:
        if self._transactional_id is not None:
            return self._transactional_id
        return self._slot.transactional_id(self._topics) if self._slot is not None else f"memory.{uuid.uuid4().hex}"

    def _make(self, commits: TransactionalCommits, transactional_id: str) -> Driver:
        return Driver(
            self._log,
            self._topics,
            self._shards,
            self._hosted,
            open_store=self._open_store,
            transactional_id=transactional_id,
            commits=commits,
            address=self._address() if callable(self._address) else self._address,
            settings=self._settings,
            clock_ms=self._clock_ms,
        )

    def _turn(self, driver: Driver) -> None:
        away = False
        while not self._stopping.is_set():
            try:
                driver.step()
                away = False
            except LogUnavailable as error:
                if not away:
                    logger.warning("the log is unavailable; waiting for it", error=str(error))
                away = True
                self._stopping.wait(AWAY_PAUSE_S)

    def _open_store(self, shard: int) -> Store:
        if self._data is None:
            return MemoryStore()
        try:
            return _open_when_free(self._data / f"shard-{shard}")
        except StoreLocked:
            # A frozen predecessor on this machine still has the files open: restore into another directory.
            assert self._slot is not None
            return _open_or_recreate(self._data / f"shard-{shard}.slot-{self._slot.number}")


def _open_when_free(path: Path) -> Store:
    """Open a store whose last owner may be about to close it."""
    deadline_s = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            return _open_or_recreate(path)
        except StoreLocked:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)


def _open_or_recreate(path: Path) -> Store:
    """Open a store. Damaged files are deleted, since the changelog has all rows."""
    from penstock.engine.store.rocks import RocksStore, delete_store

    try:
        return RocksStore(path)
    except StoreCorrupt as error:
        logger.warning("store damaged; restoring it from the changelog", path=str(path), error=str(error))
        delete_store(path)
        return RocksStore(path)
