"""How are records appended outside of transactions? By one idempotent producer and a thread that hears its answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from penstock.schemas.errors import LogUnavailable
from penstock.topics.kafka import faults
from penstock.topics.kafka.faults import Watch, logger
from penstock.topics.log import Record

POLL_S = 0.1
CLOSE_TIMEOUT_S = 30.0

OnDone = Callable[[Exception | None], None]


class KafkaPublisher:
    """Appends records, each acknowledged by every in-sync replica. May be used by several threads."""

    def __init__(
        self, open_producer: Callable[[Watch], Producer], check: Callable[[Iterable[Record]], None], bootstrap: str
    ) -> None:
        self._watch = Watch(bootstrap)
        self._producer = open_producer(self._watch)
        self._check = check
        self._bootstrap = bootstrap
        # The first failure that nobody was told of; `flush` raises it.
        self._untold: Exception | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="penstock-kafka-publisher", daemon=True)
        self._thread.start()

    def send(self, record: Record, on_done: OnDone | None = None) -> None:
        """Queue the record. Raises, instead of calling `on_done`, UnknownTopic, RecordTooLarge or LogUnavailable."""
        self._check((record,))
        answer = self._note if on_done is None else partial(self._tell, on_done)
        while True:
            try:
                self._producer.produce(record.topic, record.value, record.key, record.partition, answer)
                return
            except BufferError:
                self._producer.poll(POLL_S)
            except KafkaException as raised:
                raise self._failure(faults.error_of(raised)) from raised

    def flush(self, timeout_s: float) -> None:
        """Wait until all that was sent is acknowledged. Raises LogUnavailable when that takes longer, or the failure
        of a record that was sent without `on_done`."""
        left = self._producer.flush(timeout_s)
        if left:
            raise LogUnavailable(
                f"{left} records were not acknowledged within {timeout_s:g} s: {faults.nobody_answers(self._bootstrap)}"
            )
        untold, self._untold = self._untold, None
        if untold is not None:
            raise untold

    def close(self) -> None:
        """Flush for at most 30 s and let go; what is not acknowledged by then may or may not be in the log."""
        if self._closing.is_set():
            return
        left = self._producer.flush(CLOSE_TIMEOUT_S)
        if left:
            logger.error("%d records were not acknowledged before their publisher closed", left)
        self._closing.set()
        self._thread.join()

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                self._producer.poll(POLL_S)
            except Exception:  # noqa: BLE001 (a user's callback may raise anything, and the others wait for theirs)
                logger.exception("an on_done callback failed")

    def _tell(self, on_done: OnDone, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self._watch.note_answer()
            on_done(None)
        else:
            on_done(self._failure(error))

    def _note(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None and self._untold is None:
            self._untold = self._failure(error)

    def _failure(self, error: KafkaError) -> Exception:
        return faults.plain_failure(error, self._bootstrap, "a record was not acknowledged")
