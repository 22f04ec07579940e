"""The items about Kafka: the brokers, the topics, the permissions, a transaction and the backlog.

The probes ask Kafka. ``broker_errors`` words their errors.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from confluent_kafka import KafkaError, KafkaException

from worker import loop_wiring, wiring
from worker.commands.check.admin_probe import AdminProbe
from worker.commands.check.broker_errors import (
    DENIED,
    MISSING,
    alter_command,
    denied,
    rejected,
    unexpected,
    unreachable,
)
from worker.commands.check.consumer_probe import ConsumerProbe
from worker.commands.check.newest_records import RECORDS, newest_records
from worker.commands.check.open_transactions import blocked_item
from worker.commands.check.producer_probe import KEYS, ProducerProbe
from worker.commands.check.report import Doubtful, Postponed, Report, Wrong
from worker.commands.check.topic_settings import WrittenRecords, mismatches
from worker.commands.shape.samples import samples_of_topic
from worker.errors import ExitCode, KafkaFatalError
from worker.kafka.commit_metadata import CHARACTERS_MAX
from worker.settings import Settings
from worker.settings.groups import RECORD_OVERHEAD_BYTES_MAX

SETTINGS, BROKER, TRANSACTION, BACKLOG = "settings", "broker", "transaction", "backlog"
OPEN = "open transactions in the input"
METADATA = "metadata of committed offsets"
METADATA_LIMIT = "offset.metadata.max.bytes"
PRODUCER = "permission to WRITE the transactional id"


class KafkaItems:
    """The items about Kafka. It keeps what earlier items found for later items.

    Args:
        settings: The worker's settings.
        report: Checks and prints the items.

    Attributes:
        backlog_messages: Messages that wait to be judged, as the item BACKLOG found.

    Raises:
        KafkaException: librdkafka rejects a property.
    """

    def __init__(self, settings: Settings, report: Report) -> None:
        options = loop_wiring.session_options(settings)
        self.backlog_messages = 0
        self._kafka = settings.kafka
        self._coalesces = wiring.make_policy(settings).coalesce is not None
        self._report = report
        # Kafka would fence a running worker if this producer had the worker's id.
        self._transactional_id = f"{settings.kafka.transactional_id}.check"
        self._producer = ProducerProbe(options.publisher, self._transactional_id)
        self._consumer = ConsumerProbe(options)
        self._admin = AdminProbe(options.admin_config)
        self._admin_config = options.admin_config
        self._read_record = wiring.input_reader(settings)
        self._partitions: dict[str, int] = {}  # the number of partitions of each topic that was found
        self._hidden: set[str] = set()  # topics that the brokers hide, because no permission on them is granted
        self._writable: list[str] = []
        self._written_together: bool | None = None  # None until it was tried

    def check(self) -> None:
        """Check Kafka on three threads: the consumer's items, the producer's, and the rest, each in order.

        On a slow link every item waits for several answers of the brokers, and the items of different clients do
        not depend on each other.
        """
        kafka = self._kafka
        inputs, outputs = kafka.input_topics, (kafka.verdict_topic, kafka.alert_topic, kafka.dead_letter_topic)
        report, fault = self._report, ExitCode.KAFKA
        report.check(BROKER, self._reach, fault=fault, needs=(SETTINGS,))
        consumer, producer, others = (ThreadPoolExecutor(1, name) for name in ("consumer", "producer", "others"))
        for topic in (*inputs, *outputs):
            report.start(others, _topic(topic), partial(self._count, topic), fault=fault, needs=(BROKER,))
        report.print()
        reading = [
            report.start(
                consumer,
                f"permission to READ {topic}",
                partial(self._read, topic),
                fault=fault,
                needs=[_topic(topic)],
            )
            for topic in inputs
        ]
        for topic, permission in zip(inputs, reading, strict=True):
            sample = partial(self._sample, topic)
            report.start(others, f"newest records of {topic}", sample, fault=fault, needs=[permission])
        reading.append(
            report.start(
                consumer,
                f"permission to READ the group {kafka.group_id}",
                self._commit,
                fault=fault,
                needs=(BROKER,),
            )
        )
        report.start(producer, PRODUCER, self._initialise, fault=fault, needs=(BROKER,))
        for topic in outputs:
            report.start(
                others, f"settings of {topic}", partial(self._compare, topic), fault=fault, needs=[_topic(topic)]
            )
        self._writable = [one for one in outputs if report.passed(_topic(one)) and one not in self._hidden]
        writing = [
            report.start(
                producer,
                f"permission to WRITE {topic}",
                partial(self._write, topic),
                fault=fault,
                needs=[_topic(topic)] if topic in self._hidden else [_topic(topic), PRODUCER],
            )
            for topic in outputs
        ]
        report.start(producer, TRANSACTION, partial(self._transact, outputs), fault=fault, needs=writing)
        report.start(consumer, BACKLOG, partial(self._find_backlog, inputs), fault=fault, needs=reading)
        if self._coalesces:
            report.start(others, METADATA, self._compare_metadata, fault=fault, needs=(BROKER,))
        report.start(others, OPEN, partial(self._find_blocked, inputs), fault=fault, needs=reading)
        report.print()

    def _reach(self) -> str:
        try:
            count = self._consumer.brokers()
        except KafkaException as error:
            raise unreachable(self._kafka, error.args[0]) from error
        return f"{self._kafka.bootstrap_servers} answers; brokers: {count}"

    # ---- topics ----------------------------------------------------------------------------------------------

    def _count(self, topic: str) -> str:
        try:
            count = self._consumer.partitions(topic)
        except KafkaException as error:
            fault: KafkaError = error.args[0]
            if fault.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                self._hidden.add(topic)
                raise Postponed(
                    "a client without a permission on the topic cannot see whether it exists; see below"
                ) from error
            if fault.code() in MISSING:
                raise Wrong("the topic does not exist", "moderation-worker topics create") from error
            raise unexpected(fault) from error
        self._partitions[topic] = count
        inputs = self._kafka.input_topics
        most = max((self._partitions[one] for one in inputs if one in self._partitions), default=0)
        fewer = topic not in inputs and count < most
        return f"partitions: {count}" + (
            "; several partitions of the input share one of them, in order" if fewer else ""
        )

    def _compare(self, topic: str) -> str:
        try:
            config, replicas = self._admin.topic_settings(topic)
        except KafkaException as error:
            fault: KafkaError = error.args[0]
            if fault.code() not in (*DENIED, *MISSING):
                raise unexpected(fault) from error
            raise Postponed(
                "not compared: that needs DESCRIBE_CONFIGS on the topic, which the worker itself does not need"
            ) from error
        written = WrittenRecords(
            record_bytes_max=self._kafka.record_bytes_max,
            framing_bytes_max=RECORD_OVERHEAD_BYTES_MAX,
            transaction_timeout_ms=self._kafka.transaction_timeout_ms,
        )
        found = list(mismatches(config, replicas, written))
        if found:
            kind = Wrong if any(one.stops for one in found) else Doubtful
            changes = (alter_command(self._kafka, topic, one.change) for one in found)
            raise kind("\n".join(one.what for one in found), "\n".join(changes))
        return "they fit the records that the worker writes"

    def _compare_metadata(self) -> str:
        try:
            limits = self._admin.broker_setting(METADATA_LIMIT)
        except KafkaException as error:
            fault: KafkaError = error.args[0]
            if fault.code() not in DENIED:
                raise unexpected(fault) from error
            raise Postponed(
                "not compared: that needs DESCRIBE_CONFIGS on the cluster, which the worker itself does not need"
            ) from error
        small = {number: limit for number, limit in limits.items() if int(limit) < CHARACTERS_MAX}
        if small:
            number, limit = min(small.items(), key=lambda one: int(one[1]))
            raise Doubtful(
                f"{METADATA_LIMIT} is {limit} on broker {number}, and the windows of coalesced alerts may take "
                f"{CHARACTERS_MAX}: the first transactions fail, and then fewer messages are coalesced",
                f"set {METADATA_LIMIT}=4096 in the server.properties of each broker, and restart the brokers",
            )
        return f"they have room for the windows of coalesced alerts ({CHARACTERS_MAX} characters)"

    # ---- the input -------------------------------------------------------------------------------------------

    def _read(self, topic: str) -> str:
        return self._permitted(partial(self._consumer.fetch, topic), "Read", f"--topic {topic}")

    def _sample(self, topic: str) -> str:
        try:
            samples = samples_of_topic(self._admin_config, topic, RECORDS)
        except KafkaFatalError as error:
            raise Wrong(str(error)) from error
        return newest_records(samples, self._read_record, topic)

    def _commit(self) -> str:
        return self._permitted(self._consumer.commit_nothing, "Read", f"--group {self._kafka.group_id}")

    def _find_backlog(self, inputs: tuple[str, ...]) -> str:
        try:
            backlog = self._consumer.backlog({topic: self._partitions[topic] for topic in inputs})
        except KafkaException as error:
            raise unexpected(error.args[0]) from error
        if backlog.unplaced:
            raise Wrong(
                "some partitions have no usable committed offset, and WORKER_KAFKA__AUTO_OFFSET_RESET is error, so "
                f"run would stop; partitions: {', '.join(map(str, backlog.unplaced))}",
                "set WORKER_KAFKA__AUTO_OFFSET_RESET to earliest or to a time",
            )
        self.backlog_messages = backlog.messages
        return f"messages: {backlog.messages}" + (" at most, counted by offsets" if backlog.messages else "")

    def _find_blocked(self, inputs: tuple[str, ...]) -> str:
        try:
            blocked = self._admin.blocked({topic: self._partitions[topic] for topic in inputs})
        except KafkaException as error:
            raise unexpected(error.args[0]) from error
        if blocked:
            raise blocked_item(blocked, self._kafka.bootstrap_servers)
        return "none blocks a partition"

    # ---- the outputs -----------------------------------------------------------------------------------------

    def _initialise(self) -> str:
        # The permission is for a prefix, because each worker of the group has its own id, and this check has one.
        group, name = self._kafka.group_id, self._kafka.transactional_id
        prefix = group if name.startswith(group) else name
        resource = f"--transactional-id {prefix} --resource-pattern-type prefixed"
        return (
            f"{self._permitted(self._producer.initialise, 'Write', resource)} (tried with {self._transactional_id})"
        )

    def _write(self, topic: str) -> str:
        if topic in self._hidden:
            return self._permitted(self._deny, "Write", f"--topic {topic}")
        if self._write_together():
            return "granted"
        for key in KEYS:
            ask = partial(self._try_to_write, topic, key)
            answer = self._permitted(ask, "Write", f"--topic {topic}")
        return answer

    def _write_together(self) -> bool:
        """Try all topics in one transaction: on a slow link, one for each topic and key takes six times as long.

        Returns:
            Whether Kafka took every record. If not, each record must be tried alone, to find out which.
        """
        if self._written_together is None:
            try:
                self._producer.write_and_abort(self._writable)
                self._written_together = True
            except KafkaException:
                self._written_together = False
        return self._written_together

    def _try_to_write(self, topic: str, key: bytes | None) -> None:
        """Write one record, and abort.

        Raises:
            KafkaException: A permission is missing, or no broker answered.
            Wrong: The topic rejects such a record.
        """
        try:
            self._producer.write_and_abort([topic], [key])
        except KafkaException as error:
            record = "a record without a key" if key is None else "a record with a key"
            if wrong := rejected(self._kafka, error.args[0], topic, record):
                raise wrong from error
            raise

    def _deny(self) -> None:
        """Refuse a hidden topic without asking: a producer's question creates the topic where brokers may do so."""
        raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))

    def _transact(self, topics: tuple[str, ...]) -> str:
        try:
            if not (self._written_together and self._writable == [*topics]):
                self._producer.write_and_abort(topics)
        except KafkaException as error:
            raise unexpected(error.args[0]) from error
        return "begun, written and aborted; a read_committed reader sees no record of it"

    def _permitted(self, ask: Callable[[], None], operation: str, resource: str) -> str:
        try:
            ask()
        except KafkaException as error:
            fault: KafkaError = error.args[0]
            if fault.code() not in DENIED:
                raise unexpected(fault) from error
            raise denied(self._kafka, fault, operation, resource) from error
        return "granted"


def _topic(topic: str) -> str:
    return f"topic {topic}"
