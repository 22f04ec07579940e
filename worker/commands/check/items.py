"""What a check looks at, in the order of the exit codes: settings, Kafka, model."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from confluent_kafka import KafkaError, KafkaException
from rich.console import Console

from worker import wiring
from worker.commands.bench.in_memory_loop import messages_per_second
from worker.commands.bench.texts import built_in_texts
from worker.commands.check.open_transactions import doubt
from worker.commands.check.probe import KEYS, MISSING, Probe
from worker.commands.check.report import Doubtful, Postponed, Report, Wrong
from worker.commands.check.topic_settings import Written, mismatches
from worker.errors import ConfigurationError, ExitCode, ModelError
from worker.kafka.login import Login
from worker.settings import LoadedSettings, Settings, consumer_config
from worker.settings.groups import RECORD_OVERHEAD_BYTES_MAX

SETTINGS, BROKER, BACKLOG, MODEL, HOURS = "settings", "broker", "backlog", "model", "time for the backlog"
OPEN = "open transactions in the input"
PRODUCER = "permission to WRITE the transactional id"

_DENIED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_REFUSALS = {
    KafkaError.INVALID_RECORD: "{compact} if it is compacted; otherwise look at schema validation at the broker",
    KafkaError.INVALID_TIMESTAMP: "set this machine's clock: it is off from the broker's by more than the topic's "
    "message.timestamp.before.max.ms or message.timestamp.after.max.ms",
    KafkaError.MSG_SIZE_TOO_LARGE: "raise the topic's max.message.bytes",
}
LEAST_HOURS = 0.01
MEASURE_S = 2
_TRY_OUT = "; for a Kafka to try things out with: moderation-worker broker"


def check(load: Callable[[], LoadedSettings], console: Console, progress: Callable[[str], None]) -> ExitCode:
    """Looks at all that `run` needs, and prints it; joins no group, changes nothing.

    Args:
        load: Gives the settings; raises ConfigurationError.
        console: Where the items go.
        progress: Takes a line about what takes long.

    Returns:
        The exit code of the first fault, in the order settings, Kafka, model.
    """
    return _Check(Report(console), progress).run(load)


class _Check:
    """One run: what earlier items found, for later ones."""

    def __init__(self, report: Report, progress: Callable[[str], None]) -> None:
        self._report = report
        self._progress = progress
        self._settings = Settings()  # until they are loaded; without them all that follows is named, and skipped
        self._probe: Probe
        self._partitions: dict[str, int] = {}
        self._hidden: set[str] = set()
        self._writable: list[str] = []
        self._written_together: bool | None = None
        self._backlog_messages = 0
        self._rate = 0.0

    def run(self, load: Callable[[], LoadedSettings]) -> ExitCode:
        """Check all items, in order."""
        check = self._report.check
        check(SETTINGS, lambda: self._load(load), fault=ExitCode.CONFIGURATION)
        if self._report.passed(SETTINGS):
            self._check_kafka()
        else:  # the names of the topics are not known
            for name in (BROKER, "topics", "permissions", "transaction", BACKLOG):
                check(name, str, fault=ExitCode.KAFKA, needs=(SETTINGS,))
        check(MODEL, self._measure, fault=ExitCode.MODEL, needs=(SETTINGS,))
        check(HOURS, self._hours, fault=ExitCode.OTHER, needs=(BACKLOG, MODEL))
        return self._report.exit_code

    def _load(self, load: Callable[[], LoadedSettings]) -> str:
        try:
            loaded = load()
        except ConfigurationError as error:
            faults = str(error).splitlines()
            raise Wrong(
                "\n".join(("to mend", *faults)),
                "mend them in the environment, in WORKER_SECRETS_DIR or in .env (moderation-worker run --help)",
            ) from error
        self._settings = loaded.settings
        try:
            self._probe = Probe(
                wiring.session_options(self._settings), transactional_id=f"{self._transactional_id}.check"
            )
        except KafkaException as error:
            said = re.sub('value "[^"]*"', "value", error.args[0].str())  # it may be a secret
            raise Wrong(f"librdkafka refuses: {said}", "set it otherwise in WORKER_KAFKA__PROPERTIES") from error
        return "\n".join(("valid", *loaded.warnings))

    # ---- Kafka -----------------------------------------------------------------------------------------------

    def _check_kafka(self) -> None:
        """Check Kafka on three threads: the consumer's items, the producer's, and the rest, each in order.

        On a slow link every item waits for several answers of the brokers, and the items of different clients do
        not depend on each other.
        """
        kafka = self._settings.kafka
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
        reading.append(
            report.start(
                consumer, f"permission to READ the group {kafka.group_id}", self._join, fault=fault, needs=(BROKER,)
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
        report.start(producer, "transaction", partial(self._transact, outputs), fault=fault, needs=writing)
        report.start(consumer, BACKLOG, partial(self._find_backlog, inputs), fault=fault, needs=reading)
        report.start(others, OPEN, partial(self._find_blocks, inputs), fault=fault, needs=reading)
        report.print()

    @property
    def _transactional_id(self) -> str:
        return self._settings.kafka.transactional_id

    def _reach(self) -> str:
        servers = self._settings.kafka.bootstrap_servers
        try:
            count = self._probe.brokers()
        except KafkaException as error:
            fault: KafkaError = error.args[0]
            login = Login.of(consumer_config(self._settings.kafka))
            if settings := login.settings_to_look_at(fault.name(), fault.str()):
                raise Wrong(f"Kafka won't let us in: {fault.str()}", f"look at {settings}") from error
            hint = f"{login.way} must be the broker's, and the network must let us through{_TRY_OUT}"
            raise Wrong(f"{servers} did not answer in time: {fault.str()}", hint) from error
        return f"{servers} answers; brokers: {count}"

    def _count(self, topic: str) -> str:
        try:
            count = self._probe.partitions(topic)
        except KafkaException as error:
            fault: KafkaError = error.args[0]
            if fault.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                self._hidden.add(topic)
                raise Postponed(
                    "there or not, it is hidden from whoever has no permission on it; see below"
                ) from error
            if fault.code() in MISSING:
                raise Wrong("it is not there", "moderation-worker topics create") from error
            raise _unexpected(fault) from error
        self._partitions[topic] = count
        inputs = self._settings.kafka.input_topics
        most = max((self._partitions[one] for one in inputs if one in self._partitions), default=0)
        fewer = topic not in inputs and count < most
        return f"partitions: {count}" + ("; several of the input's share one, in order" if fewer else "")

    def _read(self, topic: str) -> str:
        return self._permitted(partial(self._probe.read, topic), "Read", f"--topic {topic}")

    def _join(self) -> str:
        return self._permitted(self._probe.commit_nothing, "Read", f"--group {self._settings.kafka.group_id}")

    def _initialise(self) -> str:
        # A prefix, because each worker of the group has an id of its own, and this check one more.
        group, name = self._settings.kafka.group_id, self._transactional_id
        prefix = group if name.startswith(group) else name
        resource = f"--transactional-id {prefix} --resource-pattern-type prefixed"
        return f"{self._permitted(self._probe.initialise, 'Write', resource)} (tried as {name}.check)"

    def _compare(self, topic: str) -> str:
        try:
            config, replicas = self._probe.topic_settings(topic)
        except KafkaException as error:
            fault: KafkaError = error.args[0]
            if fault.code() not in (*_DENIED, *MISSING):
                raise _unexpected(fault) from error
            raise Postponed(
                "not compared, which needs DESCRIBE_CONFIGS on the topic; the worker itself does not need it"
            ) from error
        kafka = self._settings.kafka
        written = Written(
            record_bytes_max=kafka.record_bytes_max,
            framing_bytes_max=RECORD_OVERHEAD_BYTES_MAX,
            transaction_timeout_ms=kafka.transaction_timeout_ms,
        )
        found = list(mismatches(config, replicas, written))
        if found:
            kind = Wrong if any(one.stops for one in found) else Doubtful
            changes = (self._change(topic, one.change) for one in found)
            raise kind("\n".join(one.what for one in found), "\n".join(changes))
        return "they take what the worker writes"

    def _change(self, topic: str, setting: str) -> str:
        return (
            f"kafka-configs.sh --bootstrap-server {self._settings.kafka.bootstrap_servers} --alter --entity-type "
            f"topics --entity-name {topic} --add-config {setting}"
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
            Whether Kafka took every record. If not, each record must be tried by itself, to find out which.
        """
        if self._written_together is None:
            try:
                self._probe.write_and_abort(self._writable)
                self._written_together = True
            except KafkaException:
                self._written_together = False
        return self._written_together

    def _try_to_write(self, topic: str, key: bytes | None) -> None:
        """Writes a record, and aborts.

        Raises:
            KafkaException: We may not, or there was no answer.
            Wrong: The topic takes no such record.
        """
        try:
            self._probe.write_and_abort([topic], [key])
        except KafkaException as error:
            fault: KafkaError = error.args[0]
            if fault.code() not in _REFUSALS:
                raise
            what = "a record without a key" if key is None else "a record with a key"
            raise Wrong(
                f"the topic refuses {what}: {fault.str()} ({fault.name()})",
                _REFUSALS[fault.code()].format(compact=self._change(topic, "cleanup.policy=delete")),
            ) from error

    def _deny(self) -> None:
        """In place of a producer, which would make a hidden topic where brokers make topics by themselves."""
        raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))

    def _permitted(self, ask: Callable[[], None], operation: str, resource: str) -> str:
        try:
            ask()
        except KafkaException as error:
            fault: KafkaError = error.args[0]
            if fault.code() not in _DENIED:
                raise _unexpected(fault) from error
            kafka = self._settings.kafka
            raise Wrong(
                f"Kafka refuses: {fault.str()}",
                f"kafka-acls.sh --bootstrap-server {kafka.bootstrap_servers} --add --allow-principal "
                f"User:{kafka.sasl_username or 'NAME'} --operation {operation} {resource}",
            ) from error
        return "granted"

    def _transact(self, topics: tuple[str, ...]) -> str:
        try:
            if not (self._written_together and self._writable == [*topics]):
                self._probe.write_and_abort(topics)
        except KafkaException as error:
            raise _unexpected(error.args[0]) from error
        return "begun, written and aborted: nothing of it can be read at read_committed"

    def _find_backlog(self, inputs: tuple[str, ...]) -> str:
        try:
            backlog = self._probe.backlog({topic: self._partitions[topic] for topic in inputs})
        except KafkaException as error:
            raise _unexpected(error.args[0]) from error
        if backlog.unplaced:
            raise Wrong(
                "no committed offset that can be used, and WORKER_KAFKA__AUTO_OFFSET_RESET is error, so run would "
                f"stop; partitions: {', '.join(map(str, backlog.unplaced))}",
                "set WORKER_KAFKA__AUTO_OFFSET_RESET to earliest or to a time",
            )
        self._backlog_messages = backlog.messages
        return f"messages: {backlog.messages}" + (" at most, counted by offsets" if backlog.messages else "")

    def _find_blocks(self, inputs: tuple[str, ...]) -> str:
        try:
            blocks = self._probe.blocks({topic: self._partitions[topic] for topic in inputs})
        except KafkaException as error:
            raise _unexpected(error.args[0]) from error
        if blocks:
            raise doubt(blocks, self._settings.kafka.bootstrap_servers)
        return "none blocks a partition"

    # ---- the model -------------------------------------------------------------------------------------------

    def _measure(self) -> str:
        try:
            model = wiring.open_classifier(self._settings, self._progress)
            self._rate = messages_per_second(self._settings, model, built_in_texts(), seconds=MEASURE_S)
        except ModelError as error:
            raise Wrong(str(error)) from error
        identity = model.identity
        what = (
            f"{identity.name} (revision {identity.revision}, digest {identity.digest}) on {identity.device}, "
            f"{identity.dtype}, threads: {identity.threads}; {self._rate:.3g} messages per second on this machine, "
            "measured with short chat"
        )
        return "\n".join((what, *model.fallbacks))

    def _hours(self) -> str:
        if not self._backlog_messages:
            return "none, there is no backlog"
        hours = self._backlog_messages / self._rate / 3600
        shown = f"{hours:.2f}" if hours >= LEAST_HOURS else f"less than {LEAST_HOURS}"
        return f"{shown} hours at {self._rate:.3g} messages per second, if no new ones came"


def _topic(topic: str) -> str:
    return f"topic {topic}"


def _unexpected(fault: KafkaError) -> Wrong:
    return Wrong(f"{fault.str()} ({fault.name()})", "look at the brokers' logs, then moderation-worker check again")
