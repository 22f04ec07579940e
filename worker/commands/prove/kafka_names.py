"""What the topics and the group of a trial or a proof are called, and what follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from confluent_kafka import Message

from worker.kafka.topics import TopicSpec, contract_topics
from worker.records import Topic


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaNames:
    """The names.

    Attributes:
        input: The input topic.
        outputs: Our topics.
        group: The workers' group; their transactional ids begin with it.
    """

    input: str
    outputs: Mapping[Topic, str]
    group: str

    @classmethod
    def with_prefix(cls, prefix: str) -> Self:
        """The contract's names behind a prefix: on a Kafka that others use too they must be new."""
        return cls(
            input=f"{prefix}chat.messages",
            outputs={
                Topic.VERDICT: f"{prefix}moderation.verdicts",
                Topic.ALERT: f"{prefix}moderation.alerts",
                Topic.DEAD_LETTER: f"{prefix}moderation.dead-letters",
            },
            group=f"{prefix}moderation",
        )

    @property
    def topics(self) -> list[str]:
        """All four."""
        return [self.input, *self.outputs.values()]

    @property
    def specs(self) -> Sequence[TopicSpec]:
        """The topics as the contract wants them."""
        return contract_topics(
            inputs=[self.input],
            verdicts=self.outputs[Topic.VERDICT],
            alerts=self.outputs[Topic.ALERT],
            dead_letters=self.outputs[Topic.DEAD_LETTER],
        )

    @property
    def settings(self) -> dict[str, str]:
        """The variables of a worker that give it these names."""
        return {
            "WORKER_KAFKA__GROUP_ID": self.group,
            "WORKER_KAFKA__INPUT_TOPICS": self.input,
            "WORKER_KAFKA__VERDICT_TOPIC": self.outputs[Topic.VERDICT],
            "WORKER_KAFKA__ALERT_TOPIC": self.outputs[Topic.ALERT],
            "WORKER_KAFKA__DEAD_LETTER_TOPIC": self.outputs[Topic.DEAD_LETTER],
        }

    def kind(self, message: Message) -> Topic:
        """Which of our topics a record stands in."""
        return next(topic for topic, name in self.outputs.items() if name == message.topic())
