"""What a broker's error means for an item, and the command that corrects its cause."""

from confluent_kafka import KafkaError

from worker.commands.check.report import Wrong
from worker.kafka.login import Login
from worker.settings import consumer_config
from worker.settings.groups import KafkaSettings

MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})  # noqa: SLF001 - librdkafka's own codes begin so
DENIED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_REJECTED = {
    KafkaError.INVALID_RECORD: "{not_compacted} if the topic is compacted; otherwise look at schema "
    "validation at the broker",
    KafkaError.INVALID_TIMESTAMP: "correct this machine's clock: it differs from the broker's by more than the "
    "topic's message.timestamp.before.max.ms or message.timestamp.after.max.ms",
    KafkaError.MSG_SIZE_TOO_LARGE: "raise the topic's max.message.bytes",
}
_TRY_OUT = "; to try things out, start a Kafka with: moderation-worker broker"


def unreachable(kafka: KafkaSettings, error: KafkaError) -> Wrong:
    """Say which settings to check when no broker gave metadata."""
    login = Login.of(consumer_config(kafka))
    if settings := login.settings_to_look_at(error.name(), error.str()):
        return Wrong(f"Kafka rejects the login: {error.str()}", f"look at {settings}")
    return Wrong(
        f"{kafka.bootstrap_servers} did not answer in time: {error.str()}",
        f"{login.way} must match the broker's, and the network must let this machine connect{_TRY_OUT}",
    )


def denied(kafka: KafkaSettings, error: KafkaError, operation: str, resource: str) -> Wrong:
    """Say which command grants the operation on the resource, both in the words of ``kafka-acls.sh``."""
    return Wrong(
        f"Kafka refuses: {error.str()}",
        f"kafka-acls.sh --bootstrap-server {kafka.bootstrap_servers} --add --allow-principal "
        f"User:{kafka.sasl_username or 'NAME'} --operation {operation} {resource}",
    )


def rejected(kafka: KafkaSettings, error: KafkaError, topic: str, record: str) -> Wrong | None:
    """Say why the topic rejects the record, or return None if the error is not about the record."""
    if error.code() not in _REJECTED:
        return None
    return Wrong(
        f"the topic rejects {record}: {error.str()} ({error.name()})",
        _REJECTED[error.code()].format(not_compacted=alter_command(kafka, topic, "cleanup.policy=delete")),
    )


def unexpected(error: KafkaError) -> Wrong:
    """Return the item's text for every other error."""
    return Wrong(f"{error.str()} ({error.name()})", "look at the brokers' logs, then moderation-worker check again")


def alter_command(kafka: KafkaSettings, topic: str, setting: str) -> str:
    """Return the command that changes a setting of a topic."""
    return (
        f"kafka-configs.sh --bootstrap-server {kafka.bootstrap_servers} --alter --entity-type topics "
        f"--entity-name {topic} --add-config {setting}"
    )
