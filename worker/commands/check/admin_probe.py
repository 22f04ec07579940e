"""Questions that an admin client asks, each with an answer within 30 s. None changes anything.

The settings of a topic need the permission DESCRIBE_CONFIGS, which the worker itself does not need.
"""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined] # exported at run time
    AdminClient,
    ConfigEntry,
    ConfigResource,
)

from worker.commands.check.consumer_probe import ANSWER_S, partitions_of
from worker.commands.check.open_transactions import find_blocked
from worker.kafka.blocked_partitions import BlockedPartition
from worker.kafka.offset_queries import OffsetQueries
from worker.records import Partition


class AdminProbe:
    """Admin clients with the worker's properties.

    Args:
        config: librdkafka's properties.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._admin = AdminClient({"log_level": 0, **config})
        self._queries = OffsetQueries(config, answer_s_max=ANSWER_S)

    def topic_settings(self, topic: str) -> tuple[dict[str, str], int]:
        """Return the topic's settings by name, and the smallest number of replicas of a partition.

        Raises:
            KafkaException: The permission is missing, or no broker answered.
        """
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        configs = self._admin.describe_configs([resource], request_timeout=ANSWER_S)
        topics = self._admin.describe_topics(TopicCollection([topic]), request_timeout=ANSWER_S)
        found: dict[str, ConfigEntry] = configs[resource].result()
        replicas = min(len(partition.replicas) for partition in topics[topic].result().partitions)
        return {name: entry.value for name, entry in found.items() if entry.value is not None}, replicas

    def broker_setting(self, name: str) -> Mapping[int, str]:
        """Return the value of a setting on each broker.

        Raises:
            KafkaException: The permission DESCRIBE_CONFIGS on the cluster is missing, or no broker answered.
        """
        brokers = self._admin.list_topics(timeout=ANSWER_S).brokers
        resources = {ConfigResource(ConfigResource.Type.BROKER, str(number)): number for number in brokers}
        answers = self._admin.describe_configs(list(resources), request_timeout=ANSWER_S)
        found: dict[int, dict[str, ConfigEntry]] = {
            number: answers[resource].result() for resource, number in resources.items()
        }
        return {
            number: value
            for number, entries in found.items()
            if name in entries and (value := entries[name].value) is not None
        }

    def blocked(self, partitions: Mapping[str, int]) -> dict[Partition, BlockedPartition]:
        """Return the partitions that another producer's open transaction blocks.

        Args:
            partitions: The number of partitions of each topic.

        Raises:
            KafkaException: No broker answered for one of the partitions.
        """
        return find_blocked(self._queries, partitions_of(partitions))
