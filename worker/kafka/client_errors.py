"""Errors that librdkafka reports outside its calls: which of them end the process, and after how long.

Callbacks only record errors. A callback may run inside a commit that succeeds, and an exception would make the
commit look like a failure. The session handles the recorded errors once a poll.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError

from worker.errors import KafkaFatalError
from worker.kafka.consumer_errors import CONSUMER_ERRORS, ErrorAction
from worker.kafka.log_interval import LogInterval
from worker.kafka.login import Login
from worker.kafka.offset_queries import OffsetQueries

if TYPE_CHECKING:
    from concurrent.futures import Future

log = logging.getLogger(__name__)

_AUTHENTICATION_MS_MAX = 5_000  # a broker that is starting may refuse a correct login for a moment
_AUTHENTICATION_FORGOTTEN_MS = 30_000
_TOPIC_MISSING_MS_MAX = 10_000  # a broker that has not loaded its metadata may miss an existing topic for a moment
_ASK_AGAIN_MS = 1_000
_LOG_AGAIN_MS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The settings of the consumer's group membership, for messages. An empty value means: not set.

    Attributes:
        group_id: ``WORKER_KAFKA__GROUP_ID``.
        instance_id: ``WORKER_KAFKA__GROUP_INSTANCE_ID``.
        input_topics: ``WORKER_KAFKA__INPUT_TOPICS``.
        group_protocol: ``WORKER_KAFKA__GROUP_PROTOCOL``.
        partition_assignment_strategy: ``WORKER_KAFKA__PARTITION_ASSIGNMENT_STRATEGY``.
        session_timeout_ms: ``WORKER_KAFKA__SESSION_TIMEOUT_MS``; 0 if the broker decides.
        login: The servers and the login.
    """

    group_id: str
    instance_id: str
    input_topics: Sequence[str]
    group_protocol: str
    partition_assignment_strategy: str
    session_timeout_ms: int
    login: Login

    @classmethod
    def of(cls, consumer_config: Mapping[str, Any], input_topics: Sequence[str]) -> "Membership":
        """Return the membership in librdkafka's properties."""
        return cls(
            group_id=consumer_config["group.id"],
            instance_id=consumer_config.get("group.instance.id", ""),
            input_topics=input_topics,
            group_protocol=consumer_config.get("group.protocol", "classic"),
            partition_assignment_strategy=consumer_config.get("partition.assignment.strategy", ""),
            session_timeout_ms=consumer_config.get("session.timeout.ms", 0),
            login=Login.of(consumer_config),
        )

    def hint(self, code: str) -> str:
        """Return what to do about an error that ends the process; empty if there is no advice."""
        protocol = f"WORKER_KAFKA__GROUP_PROTOCOL ({self.group_protocol})"
        strategies = self.partition_assignment_strategy or "the broker decides"
        strategy = f"WORKER_KAFKA__PARTITION_ASSIGNMENT_STRATEGY ({strategies})"
        group = f"the group {self.group_id!r} (WORKER_KAFKA__GROUP_ID)"
        instance = f"WORKER_KAFKA__GROUP_INSTANCE_ID ({self.instance_id or 'not set'})"
        topics = f"{', '.join(self.input_topics)} (WORKER_KAFKA__INPUT_TOPICS)"
        hints = {
            "TOPIC_AUTHORIZATION_FAILED": f"Grant its principal READ on the input topics {topics}.",
            "GROUP_AUTHORIZATION_FAILED": f"Grant its principal READ on {group}.",
            "INVALID_SESSION_TIMEOUT": f"WORKER_KAFKA__SESSION_TIMEOUT_MS ({self.session_timeout_ms}) must lie "
            "between the broker's group.min.session.timeout.ms and group.max.session.timeout.ms.",
            "INCONSISTENT_GROUP_PROTOCOL": f"Other members of {group} have another {strategy} or {protocol}. Stop "
            "all members before you change a setting.",
            "FENCED_INSTANCE_ID": f"Another live process of {group} has this {instance}. Give each "
            "process its own value.",
            "GROUP_MAX_SIZE_REACHED": f"The broker's group.max.size allows no further member in {group}. Stop a "
            "member, or raise group.max.size.",
            "_FATAL": f"If the error names group.instance.id, give each live process its own {instance}.",
            "UNSUPPORTED_VERSION": f"These brokers do not support {protocol}. Set it to classic.",
        }
        return hints.get(code, "")


class ClientErrors:
    """The errors since the last poll, and since when some errors last."""

    def __init__(self, membership: Membership, admin_config: Mapping[str, Any]) -> None:
        self._membership = membership
        self._topics = TopicQuery(admin_config)
        self._recorded: list[KafkaError] = []
        self._unauthenticated_ms: tuple[int, int] | None = None  # the first and the last refusal in a row
        self._missing_since_ms: dict[str, int] = {}
        self._asked_at_ms = 0
        self._retry_log = LogInterval(_LOG_AGAIN_MS)

    def record(self, error: KafkaError) -> None:
        """Record an error. Never raise."""
        self._recorded.append(error)

    def handle(self, now_ms: int) -> None:
        """Act on the recorded errors. Never wait.

        Raises:
            KafkaFatalError: Kafka refuses this worker for good, or an input topic does not exist.
        """
        recorded, self._recorded = self._recorded, []
        for error in recorded:
            action = CONSUMER_ERRORS.get(error.name(), ErrorAction.WAIT)
            if action is ErrorAction.STOP:
                hint = self._membership.hint(error.name())
                raise KafkaFatalError(f"Kafka refuses: {error.str()} ({error.name()}). {hint}".rstrip())
            if action is ErrorAction.CHECK_TOPIC:
                for topic in self._membership.input_topics:
                    self._missing_since_ms.setdefault(topic, now_ms)
            elif settings := self._membership.login.settings_to_look_at(error.name(), error.str()):
                self._refuse_unauthenticated(error, settings, now_ms)
            elif self._retry_log.due(now_ms):
                log.warning("Kafka: %s; the client keeps trying%s", error.str(), self._wait_hint(error.name()))
        if self._missing_since_ms:
            self._check_missing_topics(now_ms)

    def _wait_hint(self, code: str) -> str:
        if code != "_ALL_BROKERS_DOWN":
            return ""
        return f". If this goes on, check {self._membership.login.way}, and the network"

    def _refuse_unauthenticated(self, error: KafkaError, settings: str, now_ms: int) -> None:
        first_ms, last_ms = self._unauthenticated_ms or (now_ms, now_ms)
        if now_ms - last_ms > _AUTHENTICATION_FORGOTTEN_MS:
            first_ms = now_ms
        self._unauthenticated_ms = (first_ms, now_ms)
        if now_ms - first_ms >= _AUTHENTICATION_MS_MAX:
            raise KafkaFatalError(f"Kafka refuses the login: {error.str()}. Check {settings}.")

    def _check_missing_topics(self, now_ms: int) -> None:
        """Ask the brokers about the topics that were reported missing: a report alone may be wrong.

        A code below 0 is librdkafka's own, and not the answer of a broker.
        """
        for topic, error in self._topics.answers().items():
            since_ms = self._missing_since_ms[topic]
            if error is None:
                del self._missing_since_ms[topic]
            elif error.code() > 0 and now_ms - since_ms >= _TOPIC_MISSING_MS_MAX:
                raise KafkaFatalError(
                    f"the input topic {topic!r} does not exist: {error.str()}. Create it with moderation-worker "
                    "topics create, or name another topic in WORKER_KAFKA__INPUT_TOPICS "
                    f"({','.join(self._membership.input_topics)})."
                )
        if now_ms - self._asked_at_ms >= _ASK_AGAIN_MS and self._topics.ask(list(self._missing_since_ms)):
            self._asked_at_ms = now_ms


class TopicQuery:
    """Asks the brokers whether topics exist. No call waits for the answers, which may take seconds."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._queries = OffsetQueries(config)
        self._asked: Mapping[str, Future[Any]] = {}

    def ask(self, topics: Sequence[str]) -> bool:
        """Ask about the topics, unless an earlier question is open. Return whether a question was asked."""
        if self._asked or not topics:
            return False
        self._asked = self._queries.describe_topics(topics)
        return True

    def answers(self) -> dict[str, KafkaError | None]:
        """Return the error of each topic, None if it exists. Return nothing while an answer is missing."""
        if not all(answer.done() for answer in self._asked.values()):
            return {}
        asked, self._asked = self._asked, {}
        errors = {topic: answer.exception() for topic, answer in asked.items()}
        return {topic: None if error is None else error.args[0] for topic, error in errors.items()}
