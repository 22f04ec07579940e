"""The settings of the publisher, and the environment variables of the output topics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.records import Topic

VARIABLES = {
    Topic.VERDICT: "WORKER_KAFKA__VERDICT_TOPIC",
    Topic.ALERT: "WORKER_KAFKA__ALERT_TOPIC",
    Topic.DEAD_LETTER: "WORKER_KAFKA__DEAD_LETTER_TOPIC",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherOptions:
    """The settings of the publisher.

    Attributes:
        config: librdkafka's properties for the producer.
        admin_config: librdkafka's properties for the client that asks for the partitions of the topics.
        topics: The names of the output topics.
        transactional_id: The ``transactional.id`` of ``config``, for log lines and errors.
        transaction_timeout_ms: The ``transaction.timeout.ms`` of ``config``. It also limits a whole publish.
        group_id: The consumer group, for log lines and errors.
        group_instance_id: The ``group.instance.id`` of a static member, for errors; None for a dynamic member.
    """

    config: Mapping[str, Any]
    admin_config: Mapping[str, Any]
    topics: Mapping[Topic, str]
    transactional_id: str
    transaction_timeout_ms: int
    group_id: str
    group_instance_id: str | None = None
