"""Create the four topics as the contract requires. Creating them again changes nothing."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from worker.errors import KafkaFatalError
from worker.kafka.clients import client
from worker.kafka.login import Login
from worker.kafka.metadata import ANSWER_MS_MAX, partition_counts

DAY_MS = 86_400_000
RETENTION_MS = 7 * DAY_MS
DEAD_LETTER_RETENTION_MS = 30 * DAY_MS
MESSAGE_BYTES_MAX = 2 * 1_048_576
"""Bound on a batch. An input of INPUT__BYTES_MAX with key and headers fits, and twice what the worker produces."""
PARTITIONS = 6
REPLICATION_FACTOR_OF_BROKER = -1
REPLICATION_FACTOR_FOR_MIN_ISR_2 = 3
"""With at least three replicas, two must have a record before it counts as written. One broker may then be down."""
POLL_S = 0.02

ADVICE = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "grant this user CREATE on the topic, or let an administrator do so",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "grant this user CREATE on the topic, or let an administrator do so",
    KafkaError.INVALID_REPLICATION_FACTOR: "choose a --replication-factor of at most the number of brokers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """How a topic should be.

    Attributes:
        name: The topic's name.
        partitions: Smallest number of partitions.
        retention_ms: How long Kafka keeps records.
        replication_factor: Number of replicas of each partition. -1 means the broker's default.
    """

    name: str
    partitions: int = PARTITIONS
    retention_ms: int = RETENTION_MS
    replication_factor: int = REPLICATION_FACTOR_OF_BROKER


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """A topic after ``create_topics``.

    Attributes:
        spec: How the topic should be.
        partitions: Number of partitions that the topic has.
        created: Whether this call created the topic.
    """

    spec: TopicSpec
    partitions: int
    created: bool

    def __str__(self) -> str:
        """Return one line for the terminal."""
        if self.created:
            return f"created {self.spec.name}: {self.partitions} partitions"
        if self.partitions < self.spec.partitions:
            return (
                f"exists  {self.spec.name}: {self.partitions} partitions, fewer than the {self.spec.partitions} "
                "asked for. Not changed, because new partitions would move keys to other partitions"
            )
        return f"exists  {self.spec.name}: {self.partitions} partitions"


def contract_topics(
    *,
    inputs: Sequence[str],
    verdicts: str,
    alerts: str,
    dead_letters: str,
    partitions: int = PARTITIONS,
    replication_factor: int = REPLICATION_FACTOR_OF_BROKER,
) -> list[TopicSpec]:
    """Return the contract's topics. All get as many partitions: outputs are co-partitioned with inputs."""
    return [
        TopicSpec(
            name=name,
            partitions=partitions,
            retention_ms=DEAD_LETTER_RETENTION_MS if name == dead_letters else RETENTION_MS,
            replication_factor=replication_factor,
        )
        for name in [*inputs, verdicts, alerts, dead_letters]
    ]


def create_topics(
    admin_config: Mapping[str, Any], topics: Sequence[TopicSpec], *, timeout_ms_max: int = ANSWER_MS_MAX
) -> list[TopicState]:
    """Create the topics that are missing. Change nothing that exists.

    Args:
        admin_config: librdkafka's properties: servers and security.
        topics: The topics to have, in any order.
        timeout_ms_max: How long to wait for a broker, and again for its answer.

    Returns:
        One state for each topic, in the order of ``topics``.

    Raises:
        KafkaFatalError: No broker answered, or a broker refused the login or a topic. Topics that were created
            before the error stay. Calling this function again is safe.
    """
    errors: list[KafkaError] = []
    login = Login.of(admin_config)
    admin = client(AdminClient, {"log_level": 0, **admin_config, "error_cb": errors.append})
    found = partition_counts(admin, errors, login, timeout_ms_max=timeout_ms_max)
    missing = [topic for topic in topics if topic.name not in found]
    created = _create(admin, missing, timeout_ms_max) if missing else set()
    # The controller answers before the brokers know the topic. A client that used the topic now would get the error
    # UNKNOWN_TOPIC_OR_PARTITION.
    deadline = time.monotonic() + timeout_ms_max / 1000
    while not all(topic.name in found for topic in missing) and time.monotonic() < deadline:
        admin.poll(POLL_S)
        found = partition_counts(admin, errors, login, timeout_ms_max=timeout_ms_max)
    return [
        TopicState(
            spec=topic,
            partitions=found.get(topic.name, topic.partitions),
            created=topic.name in created,
        )
        for topic in topics
    ]


def _create(admin: AdminClient, topics: Sequence[TopicSpec], timeout_ms_max: int) -> set[str]:
    """Create all topics in one request. Return the names of the new ones."""
    new_topics = [
        NewTopic(topic.name, topic.partitions, topic.replication_factor, config=_config(topic)) for topic in topics
    ]
    created = set()
    failures = []
    for name, answer in admin.create_topics(new_topics, request_timeout=timeout_ms_max / 1000).items():
        try:
            answer.result()
            created.add(name)
        except KafkaException as error:
            why: KafkaError = error.args[0]
            if why.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                advice = ADVICE.get(why.code(), "correct the cause and run this command again, which is safe")
                failures.append(f"Kafka did not create the topic {name}: {advice} ({why.str()}).")
    if failures:
        raise KafkaFatalError("\n".join(failures))
    return created


def _config(topic: TopicSpec) -> dict[str, str]:
    """Return all settings explicitly, so that the cluster's defaults do not matter."""
    config = {
        "cleanup.policy": "delete",
        "retention.ms": str(topic.retention_ms),
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
    }
    if topic.replication_factor >= REPLICATION_FACTOR_FOR_MIN_ISR_2:
        config["min.insync.replicas"] = "2"
    return config
