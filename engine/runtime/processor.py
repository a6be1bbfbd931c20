"""What is a running processor? A driver on a thread, its state directory, and an orderly end."""

from __future__ import annotations

import fcntl
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import structlog

from penstock.engine.authoring.workflow import WorkflowDefinition
from penstock.engine.execution import guards
from penstock.engine.runtime.committer import ThreadCommitter
from penstock.engine.runtime.driver import Driver, DriverSettings, wall_clock_ms
from penstock.engine.runtime.watch import Watch
from penstock.engine.store.memory import MemoryStore
from penstock.engine.store.store import Store, StoreReader
from penstock.schemas.errors import LogUnavailable, SettingsError, StoreCorrupt, StoreError, StoreLocked
from penstock.topics.catalogue import Topics
from penstock.topics.log import Log

log = structlog.get_logger(__name__)

SLOTS_MAX = 256
AWAY_PAUSE_S = 0.5
LOCK_PATIENCE_S = 5.0
READ_PATIENCE_S = 2.0


class Slot:
    """One process's place in a state directory: it names the transactional id, the same after a restart.

    The lock ends with the process, however that ends, so that a restarted processor finds its own slot free."""

    def __init__(self, data: Path) -> None:
        self._data = data
        try:
            data.mkdir(parents=True, exist_ok=True)
            self._file, self.number = self._lock()
        except OSError as error:
            raise StoreError(
                f"the directory of the state {data} cannot be written ({error.strerror}): "
                "choose another with --data, or mend its permissions"
            ) from error
        self.installation = self._installation()

    def transactional_id(self, topics: Topics) -> str:
        """The id under which this slot's transactions run."""
        return f"{topics.prefix}.{topics.namespace}.processor.{self.installation}.{self.number}"

    def close(self) -> None:
        """Give the slot up."""
        self._file.close()

    def _lock(self) -> tuple[IO[str], int]:
        for number in range(SLOTS_MAX):
            file = (self._data / f"slot-{number}.lock").open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                continue
            return file, number
        raise SettingsError(f"{SLOTS_MAX} processors already use {self._data}; give this one another data directory.")

    def _installation(self) -> str:
        """A name of its own for each data directory, written whole or not at all: an empty one would be shared."""
        path = self._data / "installation"
        with (self._data / "installation.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists() or not path.read_text().strip():
                fresh = self._data / "installation.new"
                fresh.write_text(uuid.uuid4().hex)
                fresh.replace(path)
            return path.read_text().strip()


class Processor:
    """Decides the workflows of the shards that fall to it. `data` None keeps state in memory (tests, trials)."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        shards: int,
        definitions: Mapping[str, WorkflowDefinition[Any, Any]],
        *,
        data: Path | None = None,
        transactional_id: str | None = None,
        address: Callable[[], str] | str = "",
        settings: DriverSettings = DriverSettings(),
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._log, self._topics, self._shards, self._definitions = log, topics, shards, definitions
        self._clock_ms = clock_ms
        self._data = data / topics.namespace if data is not None else None
        self._transactional_id, self._address, self._settings = transactional_id, address, settings
        self._stopping = threading.Event()
        self._running = threading.Event()
        self._thread: threading.Thread | None = None
        self._driver: Driver | None = None
        self._slot: Slot | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Process until `stop`; then drain. Raises LogError, StoreError: the processor cannot go on."""
        guards.install()
        committer = ThreadCommitter()
        try:
            driver = self._driver = self._make(committer)
            self._running.set()
            try:
                with Watch(threading.get_ident(), self._settings.slow_activation_s):
                    self._turn(driver)
                    driver.close()
            finally:
                driver.abandon()
        finally:
            self._running.set()
            committer.close()
            if self._slot is not None:
                self._slot.close()

    def start(self) -> None:
        """Run on a thread of its own; `error` keeps what ended it."""

        def run() -> None:
            try:
                self.run()
            except BaseException as error:  # noqa: BLE001 - handed to who waits for the thread
                self.error = error
                self._stopping.set()

        self._thread = threading.Thread(target=run, name="penstock-processor", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Finish what is in flight, hand the shards over, leave. Returns when that is done, or after `timeout_s`."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def wait_running(self, timeout_s: float = 30.0) -> None:
        """Wait until it has joined its group. Raises what kept it from that."""
        self._running.wait(timeout_s)
        if self.error is not None:
            raise self.error

    @property
    def is_running(self) -> bool:
        """Whether it is at work."""
        return self._thread is not None and self._thread.is_alive()

    def stores(self) -> Mapping[int, StoreReader]:
        """The stores of the shards it has now: committed rows, readable from any thread, replies' effects included."""
        if self._driver is None:
            return {}
        self._driver.wait_settled(READ_PATIENCE_S)
        return self._driver.stores()

    def _make(self, committer: ThreadCommitter) -> Driver:
        if self._data is not None:
            self._slot = Slot(self._data)
        named = self._transactional_id
        if named is None:
            named = (
                self._slot.transactional_id(self._topics) if self._slot is not None else f"memory.{uuid.uuid4().hex}"
            )
        return Driver(
            self._log,
            self._topics,
            self._shards,
            self._definitions,
            open_store=self._open_store,
            transactional_id=named,
            committer=committer,
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
                    log.warning("the log is away; waiting for it", error=str(error))
                away = True
                self._stopping.wait(AWAY_PAUSE_S)

    def _open_store(self, shard: int) -> Store:
        if self._data is None:
            return MemoryStore()
        try:
            return _patiently(self._data / f"shard-{shard}")
        except StoreLocked:
            # A frozen predecessor on this machine still has the files: restore into a directory of our own.
            assert self._slot is not None
            return _mended(self._data / f"shard-{shard}.slot-{self._slot.number}")


def _patiently(path: Path) -> Store:
    """Open a store that its last owner may be about to close."""
    deadline_s = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            return _mended(path)
        except StoreLocked:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)


def _mended(path: Path) -> Store:
    """Open a store; damaged files are thrown away, for the changelog has it all."""
    from penstock.engine.store.rocks import RocksStore, delete_store

    try:
        return RocksStore(path)
    except StoreCorrupt as error:
        log.warning("store damaged; restoring it from the changelog", path=str(path), error=str(error))
        delete_store(path)
        return RocksStore(path)
