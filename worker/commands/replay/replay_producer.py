"""The transactional producer of a run: copies and positions in one transaction.

An error ends the run, and the message says what to do. The transaction of that moment is aborted, or the next
process of the run aborts it: its producer has the same transactional id. So the same command goes on, and no record
is copied twice.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from worker.commands.replay.copies import RecordCopy
from worker.errors import FatalError, KafkaFatalError
from worker.kafka.clients import SLICE_S, client
from worker.kafka.start_confirmation import StartConfirmation
from worker.records import Partition

ANSWER_S_MAX = 60.0
"""How long a call is repeated while brokers do not answer."""
_FENCED = "another process copies for this run: let it finish, or stop it and run this command again"
_AGAIN = "look at the brokers, and run this command again: it goes on where the last transaction ended"
_ADVICE = {
    "_FENCED": _FENCED,
    "PRODUCER_FENCED": _FENCED,
    "INVALID_PRODUCER_EPOCH": _FENCED,
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": "grant this user WRITE on the transactional id {run_id!r}",
    "GROUP_AUTHORIZATION_FAILED": "grant this user READ on the group {run_id!r}",
    "TOPIC_AUTHORIZATION_FAILED": "grant this user WRITE on the topic {topic!r}, and READ on the topics "
    "that it reads",
    "INVALID_TIMESTAMP": "copies keep the time of their originals, and the topic {topic!r} refuses it: raise its "
    "message.timestamp.before.max.ms (message.timestamp.after.max.ms if the time is in the future), or set its "
    "message.timestamp.type to LogAppendTime",
    "INVALID_RECORD": "the topic {topic!r} refuses a record, for example one without a key if its cleanup.policy "
    "is compact: choose a topic with cleanup.policy=delete",
}
"""What to do, by librdkafka's name of the error."""


class ReplayProducer:
    """A producer with the transactional id of a run.

    Args:
        config: librdkafka's properties of a producer.
        run_id: The transactional id, which is also the group.
        topic: The topic to write to.
        partitions: The number of partitions of that topic.
        confirmation: What Kafka has answered about the positions of the run.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        run_id: str,
        topic: str,
        partitions: int,
        confirmation: StartConfirmation,
    ) -> None:
        self._run_id = run_id
        self._topic = topic
        self._partitions = partitions
        self._confirmation = confirmation
        self._undelivered: KafkaError | None = None
        properties = {"log_level": 0, **config, "transactional.id": run_id, "error_cb": lambda _: None}
        self._producer = client(Producer, properties)
        self._in_slices(self._producer.init_transactions)

    def publish(
        self, copies: Sequence[RecordCopy], offsets: Sequence[TopicPartition], group_metadata: object
    ) -> None:
        """Commit the copies and the positions in one transaction.

        Raises:
            KafkaFatalError: The transaction is not committed, or it is not known whether it is.
        """
        try:
            self._publish(copies, offsets, group_metadata)
        except FatalError:
            with suppress(KafkaException):  # the next process of the run aborts it otherwise
                self._producer.abort_transaction(SLICE_S)
            raise

    def _publish(
        self, copies: Sequence[RecordCopy], offsets: Sequence[TopicPartition], group_metadata: object
    ) -> None:
        try:
            self._producer.begin_transaction()
            for copy in copies:
                self._produce(copy)
            self._in_slices(
                lambda timeout_s: self._producer.send_offsets_to_transaction(
                    list(offsets), group_metadata, timeout_s
                )
            )
            self._confirm({Partition(at.topic, at.partition) for at in offsets})
            self._in_slices(self._producer.commit_transaction)
        except KafkaException as error:
            raise self._refusal(error.args[0]) from error

    def _confirm(self, partitions: Collection[Partition]) -> None:
        """Confirm the positions from which the run began or went on (``StartConfirmation`` says why).

        Raises:
            KafkaFatalError: The run has come further.
        """
        check = self._confirmation.check_of(partitions)
        if check is not None and (wrong := check()):
            raise KafkaFatalError(
                f"Kafka has answered with an old position of the group {self._run_id!r} ({wrong}): its coordinator "
                "may do this for a moment after a restart. Nothing was copied twice: run this command again."
            )
        self._confirmation.forget(partitions)

    def _produce(self, copy: RecordCopy) -> None:
        original = copy.original
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    copy.value,
                    copy.key,
                    original.partition % self._partitions,
                    on_delivery=self._on_delivery,
                    headers=list(copy.headers),
                    # 0 means now to librdkafka, and a record without a time gets the time of the copy.
                    timestamp=max(0, original.timestamp_ms or 0),
                )
            except BufferError:
                self._producer.poll(SLICE_S)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise self._too_large(str(original)) from error
                raise
            else:
                self._producer.poll(0)
                return

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None and self._undelivered is None:
            self._undelivered = error

    def _in_slices(self, call: Callable[[float], object]) -> None:
        """Make a call that waits for brokers, again while its errors are retriable."""
        deadline_s = time.monotonic() + ANSWER_S_MAX
        while True:
            try:
                call(SLICE_S)
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline_s:
                    raise self._refusal(error.args[0]) from error
            else:
                return

    def _refusal(self, error: KafkaError) -> FatalError:
        """Return what to do about an error. The delivery report of a record says more than the commit."""
        cause = error if self._undelivered is None else self._undelivered
        if "MSG_SIZE_TOO_LARGE" in {error.name(), cause.name()}:
            return self._too_large("the last transaction")
        advice = _ADVICE.get(error.name()) or _ADVICE.get(cause.name()) or _AGAIN
        advice = advice.format(run_id=self._run_id, topic=self._topic)
        return KafkaFatalError(f"Kafka did not take the copies ({cause.name()}: {cause.str()}): {advice}.")

    def _too_large(self, what: str) -> FatalError:
        return KafkaFatalError(
            f"A record of {what} is too large for the topic {self._topic!r}: raise its max.message.bytes, and "
            "WORKER_KAFKA__RECORD_BYTES_MAX if it is smaller, and run this command again."
        )
