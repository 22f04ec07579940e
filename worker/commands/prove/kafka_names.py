"""The names of topics and group of a demo or a proof."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from worker.kafka.topics import TopicSpec, contract_topics
from worker.records import Topic


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaNames:
    """The names.

    Attributes:
        input: The input topic.
        outputs: The output topics.
        group: The workers' group, and the beginning of their transactional ids.
    """

    input: str
    outputs: Mapping[Topic, str]
    group: str

    @classmethod
    def with_prefix(cls, prefix: str) -> Self:
        """Return the contract's names after a prefix. On a Kafka that others use, the prefix makes them new."""
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
        """All four topics."""
        return [self.input, *self.outputs.values()]

    @property
    def specs(self) -> Sequence[TopicSpec]:
        """The topics as the contract defines them."""
        return contract_topics(
            inputs=[self.input],
            verdicts=self.outputs[Topic.VERDICT],
            alerts=self.outputs[Topic.ALERT],
            dead_letters=self.outputs[Topic.DEAD_LETTER],
        )

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables that give a worker these names."""
        return {
            "WORKER_KAFKA__GROUP_ID": self.group,
            "WORKER_KAFKA__INPUT_TOPICS": self.input,
            "WORKER_KAFKA__VERDICT_TOPIC": self.outputs[Topic.VERDICT],
            "WORKER_KAFKA__ALERT_TOPIC": self.outputs[Topic.ALERT],
            "WORKER_KAFKA__DEAD_LETTER_TOPIC": self.outputs[Topic.DEAD_LETTER],
        }

    def topic_named(self, name: str | None) -> Topic:
        """Return which output topic has this name."""
        return next(topic for topic, one in self.outputs.items() if one == name)
