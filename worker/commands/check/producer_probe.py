"""Questions that a transactional producer asks, each with an answer within 30 s. No reader sees a record of them.

- WRITE on the transactional id is proved by ``init_transactions``.
- WRITE on an output is proved by a record with a key and a record without a key, in a transaction that is aborted.
  The records are flushed before the abort, because a broker checks only records that reach it.
"""

from collections.abc import Sequence
from itertools import product

from confluent_kafka import KafkaError, KafkaException, Producer

from worker.commands.check.consumer_probe import ANSWER_S, silent, unanswered
from worker.kafka.publisher_options import PublisherOptions

TRANSACTION_MS_MAX = 30_000
KEYS = (b"moderation-worker check", None)
_VALUE = b'{"schema":"check"}'
_HEADERS: list[tuple[str, str | bytes | None]] = [("content-type", b"application/json")]


class ProducerProbe:
    """Producers with the worker's properties, one after another.

    They are never closed, because closing could wait for a broker that does not answer. The process ends instead.

    Args:
        options: What the worker's publisher needs to know.
        transactional_id: An id that no worker has, because the newer of two producers with the same id fences the
            older one.

    Raises:
        KafkaException: librdkafka rejects a property.
    """

    def __init__(self, options: PublisherOptions, transactional_id: str) -> None:
        self._config = {
            **options.config,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": min(options.transaction_timeout_ms, TRANSACTION_MS_MAX),
            "error_cb": lambda _: None,
        }
        self._producers: list[Producer] = []  # keeps the references, because deleting a producer may take long
        self._initialised: Producer | None = None
        self._spare: Producer | None = self._make_producer()  # made here, so that this call finds wrong properties

    def initialise(self) -> None:
        """Register the transactional id.

        Raises:
            KafkaException: The permission is missing, or no broker answered.
        """
        self._spare = self._ready_producer()

    def write_and_abort(self, topics: Sequence[str], keys: Sequence[bytes | None] = KEYS) -> None:
        """Write one record with each key to each topic in one transaction, and abort the transaction.

        Raises:
            KafkaException: A permission is missing, a topic rejects a record, or no broker answered. If this call
                did not abort the transaction, the broker does so after the transaction timeout.
        """
        producer = self._ready_producer()
        failures: list[KafkaError] = []
        producer.begin_transaction()
        for topic, key in product(topics, keys):
            producer.produce(
                topic,
                key=key,
                value=_VALUE,
                headers=_HEADERS,
                partition=0,
                on_delivery=lambda error, _: failures.append(error) if error is not None else None,
            )
        late = producer.flush(ANSWER_S)
        if failures:
            raise KafkaException(_reason(producer, failures[0]))
        producer.abort_transaction(ANSWER_S)
        if late:
            raise unanswered("Produce")
        self._spare = producer

    def _ready_producer(self) -> Producer:
        """Return the spare producer or a new one. A producer whose transaction failed is not used again."""
        producer, self._spare = self._spare or self._make_producer(), None
        if producer is not self._initialised:
            producer.init_transactions(ANSWER_S)
            self._initialised = producer
        return producer

    def _make_producer(self) -> Producer:
        self._producers.append(Producer(self._config, logger=silent))
        return self._producers[-1]


def _reason(producer: Producer, failure: KafkaError) -> KafkaError:
    """Return why a delivery failed. The delivery report may say only that the record was purged.

    The reason is the error of a commit, which cannot succeed after a failed delivery. The abort after it fails if
    the broker does not know this transaction. There is then nothing to abort.
    """
    reason = failure
    for call in (producer.commit_transaction, producer.abort_transaction):
        try:
            call(ANSWER_S)
        except KafkaException as error:
            if failure.code() == KafkaError._PURGE_QUEUE and reason is failure:  # noqa: SLF001 - librdkafka's own
                reason = error.args[0]
    return reason
