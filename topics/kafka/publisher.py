"""Publisher of records outside of transactions: an idempotent producer, and a thread that polls it."""

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
    """`Publisher` on Kafka. May be used by several threads."""

    def __init__(
        self, open_producer: Callable[[Watch], Producer], check: Callable[[Iterable[Record]], None], bootstrap: str
    ) -> None:
        self._watch = Watch(bootstrap)
        self._producer = open_producer(self._watch)
        self._check = check
        self._bootstrap = bootstrap
        # The first failure of a record without a callback; raised by `flush`.
        self._unreported: Exception | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="penstock-kafka-publisher", daemon=True)
        self._thread.start()

    def send(self, record: Record, on_done: OnDone | None = None) -> None:
        """Queue the record. Raises UnknownTopic, RecordTooLarge or LogUnavailable instead of calling `on_done`."""
        self._check((record,))
        on_delivery = self._note_failure if on_done is None else partial(self._report, on_done)
        while True:
            try:
                self._producer.produce(record.topic, record.value, record.key, record.partition, on_delivery)
                return
            except BufferError:
                self._producer.poll(POLL_S)
            except KafkaException as raised:
                raise self._failure(faults.error_of(raised)) from raised

    def flush(self, timeout_s: float) -> None:
        """Wait until all sent records are acknowledged.

        Raises LogUnavailable after `timeout_s`, and the failure of a record that was sent without `on_done`."""
        left = self._producer.flush(timeout_s)
        if left:
            raise LogUnavailable(
                f"{left} records were not acknowledged within {timeout_s:g} s: {faults.no_broker(self._bootstrap)}"
            )
        unreported, self._unreported = self._unreported, None
        if unreported is not None:
            raise unreported

    def close(self) -> None:
        """Flush for at most 30 s and close; records not acknowledged by then may or may not be in the log."""
        if self._closing.is_set():
            return
        left = self._producer.flush(CLOSE_TIMEOUT_S)
        if left:
            logger.error("publisher closed with %d unacknowledged records", left)
        self._closing.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._closing.is_set():
            try:
                self._producer.poll(POLL_S)
            except Exception:  # noqa: BLE001 (an error in one callback must not prevent the others)
                logger.exception("on_done callback failed")

    def _report(self, on_done: OnDone, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self._watch.note_answer()
            on_done(None)
        else:
            on_done(self._failure(error))

    def _note_failure(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None and self._unreported is None:
            self._unreported = self._failure(error)

    def _failure(self, error: KafkaError) -> Exception:
        return faults.plain_failure(error, self._bootstrap, "a record was not acknowledged")
