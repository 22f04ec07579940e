"""The four topics, made as the contract wants them: once, and again without harm."""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from worker.errors import KafkaFatalError
from worker.kafka.clients import client, slice_s
from worker.kafka.login import Login

DAY_MS = 86_400_000
RETENTION_MS = 7 * DAY_MS
DEAD_LETTER_RETENTION_MS = 30 * DAY_MS
MESSAGE_BYTES_MAX = 2 * 1_048_576
"""Of a batch: an input of INPUT__BYTES_MAX with its key and headers passes, and twice what the worker produces."""
PARTITIONS = 6
REPLICATION_FACTOR_OF_BROKER = -1
REPLICAS_TO_SPARE_ONE = 3
ANSWER_MS_MAX = 30_000
"""A link of 3 s each way and back needs about 20 s for TCP, TLS, a login by SCRAM and the first answer."""
REFUSED_MS_MAX = 10_000
"""Brokers that refuse or can't be found are waited for until then: one may be about to start."""
LOOK_AGAIN_S = 0.02

ADVICE = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "grant this user CREATE on the topic, or have it made by who may",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "grant this user CREATE on the topic, or have it made by who may",
    KafkaError.INVALID_REPLICATION_FACTOR: "ask for a --replication-factor of at most the number of brokers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """A topic to have.

    Attributes:
        name: As Kafka knows it.
        partitions: At least this many are wanted.
        retention_ms: How long records stay.
        replication_factor: -1 is the broker's default.
    """

    name: str
    partitions: int = PARTITIONS
    retention_ms: int = RETENTION_MS
    replication_factor: int = REPLICATION_FACTOR_OF_BROKER


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """What ``create_topics`` found or left.

    Attributes:
        spec: What was asked.
        partitions: How many there are.
        created: Whether this call made it.
    """

    spec: TopicSpec
    partitions: int
    created: bool

    def __str__(self) -> str:
        """One line for a person."""
        if self.created:
            return f"created {self.spec.name}: {self.partitions} partitions"
        if self.partitions < self.spec.partitions:
            return (
                f"exists  {self.spec.name}: {self.partitions} partitions, not the {self.spec.partitions} "
                "asked for; left as it is, since to add some moves keys to other partitions"
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
    """The contract's topics with as many partitions each, so that outputs stay co-partitioned with inputs."""
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
    """Creates what is missing and changes nothing that exists.

    Args:
        admin_config: librdkafka's properties: servers and security.
        topics: What to have, in any order.
        timeout_ms_max: How long to wait for a broker, and again for its answer.

    Returns:
        One state a topic, in the order of ``topics``.

    Raises:
        KafkaFatalError: The broker is away, doesn't know us or won't let us; topics made before the fault stay, and
            calling again is safe.
    """
    told: list[KafkaError] = []
    login = Login.of(admin_config)
    admin = client(AdminClient, {"log_level": 0, **admin_config, "error_cb": told.append})
    found = partition_counts(admin, told, login, timeout_ms_max)
    missing = [topic for topic in topics if topic.name not in found]
    created = _create(admin, missing, timeout_ms_max) if missing else set()
    # The controller's yes comes before the brokers know of the topic: whoever uses it next would be told "unknown".
    deadline = time.monotonic() + timeout_ms_max / 1000
    while not all(topic.name in found for topic in missing) and time.monotonic() < deadline:
        admin.poll(LOOK_AGAIN_S)
        found = partition_counts(admin, told, login, timeout_ms_max)
    return [
        TopicState(
            spec=topic,
            partitions=found.get(topic.name, topic.partitions),
            created=topic.name in created,
        )
        for topic in topics
    ]


def partition_counts(
    asking: AdminClient | Consumer, told: Sequence[KafkaError], login: Login, timeout_ms_max: int
) -> dict[str, int]:
    """The topics that we may see. In slices: only the error callback, when polled, hears of a wrong password.

    Args:
        asking: The client that asks; a consumer must have nothing assigned yet.
        told: What its error callback has been told.
        login: How it logs in.
        timeout_ms_max: How long to wait for a broker that says nothing; one that refuses ends the wait before.

    Raises:
        KafkaFatalError: None answers, or it doesn't let us in.
    """
    began_s = time.monotonic()
    for failed in itertools.count():
        left_s = began_s + wait_ms_max(bool(told), timeout_ms_max) / 1000 - time.monotonic()
        try:
            found = asking.list_topics(timeout=slice_s(failed, left_s)).topics
            return {name: len(topic.partitions) for name, topic in found.items()}
        except KafkaException as error:
            fault: KafkaError = error.args[0]
        asking.poll(0)
        for refusal in told:
            if settings := login.settings_to_look_at(refusal.name(), refusal.str()):
                raise KafkaFatalError(f"Kafka won't let us in: look at {settings} ({refusal.str()}).")
        waited_ms = round((time.monotonic() - began_s) * 1000)
        if waited_ms >= wait_ms_max(bool(told), timeout_ms_max):
            why = (told[-1] if told else fault).str()
            raise KafkaFatalError(
                f"No broker answered within {waited_ms} ms ({why}): see that {login.way} are right, and that the "
                "network lets us through."
            )
    raise AssertionError("the loop ends by itself")


def wait_ms_max(is_refused: bool, timeout_ms_max: int) -> int:  # noqa: FBT001 - a fact, and no choice
    """Bound the wait for a first answer: silence may be a slow link, a refusal is not."""
    return min(timeout_ms_max, REFUSED_MS_MAX) if is_refused else timeout_ms_max


def _create(admin: AdminClient, topics: Sequence[TopicSpec], timeout_ms_max: int) -> set[str]:
    """Asks for all; returns the names of those that are new."""
    wanted = [
        NewTopic(topic.name, topic.partitions, topic.replication_factor, config=_config(topic)) for topic in topics
    ]
    created = set()
    faults = []
    for name, answer in admin.create_topics(wanted, request_timeout=timeout_ms_max / 1000).items():
        try:
            answer.result()
            created.add(name)
        except KafkaException as error:
            fault: KafkaError = error.args[0]
            if fault.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                advice = ADVICE.get(fault.code(), "mend that and run this again, which is safe")
                faults.append(f"Kafka did not create {name}: {advice} ({fault.str()}).")
    if faults:
        raise KafkaFatalError("\n".join(faults))
    return created


def _config(topic: TopicSpec) -> dict[str, str]:
    """Said in full, whatever the cluster's defaults are."""
    config = {
        "cleanup.policy": "delete",
        "retention.ms": str(topic.retention_ms),
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
    }
    if topic.replication_factor >= REPLICAS_TO_SPARE_ONE:
        config["min.insync.replicas"] = "2"
    return config
