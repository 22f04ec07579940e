"""What the publisher needs to know, and the variables that set it."""

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
    """What the publisher needs to know.

    Attributes:
        config: librdkafka's properties for the producer.
        admin_config: librdkafka's properties for the client that asks for the topics' partitions.
        topics: The names of the output topics.
        transactional_id: As in ``config``, for messages.
        transaction_timeout_ms: As in ``config``; also the bound on a whole publish.
        group_id: The consumer group, for messages.
        group_instance_id: The static member's id, for messages; None for a dynamic member.
    """

    config: Mapping[str, Any]
    admin_config: Mapping[str, Any]
    topics: Mapping[Topic, str]
    transactional_id: str
    transaction_timeout_ms: int
    group_id: str
    group_instance_id: str | None = None
