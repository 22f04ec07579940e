"""What librdkafka reports beside its calls, and when it is too much to go on.

Callbacks only note (``hear``): they may run inside a commit that succeeds, where an exception would say that it
failed. The session acts on the notes once a poll.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, TopicCollection
from confluent_kafka.admin import AdminClient

from worker.errors import KafkaFatalError
from worker.kafka.consumer_errors import CONSUMER_ERRORS, ErrorAction
from worker.kafka.login import Login

if TYPE_CHECKING:
    from concurrent.futures import Future

log = logging.getLogger(__name__)

_AUTHENTICATION_MS_MAX = 5_000  # a broker that is starting may refuse for a moment
_AUTHENTICATION_FORGOTTEN_MS = 30_000
_TOPIC_MISSING_MS_MAX = 10_000  # as may one whose metadata is not loaded
_LOOK_AGAIN_MS = 1_000
_SAY_AGAIN_MS = 10_000
_ANSWER_S_MAX = 30.0  # nobody waits for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The consumer's place in its group, for messages. An empty value is not set.

    Attributes:
        group_id: ``WORKER_KAFKA__GROUP_ID``.
        instance_id: ``WORKER_KAFKA__GROUP_INSTANCE_ID``.
        input_topics: ``WORKER_KAFKA__INPUT_TOPICS``.
        group_protocol: ``WORKER_KAFKA__GROUP_PROTOCOL``.
        partition_assignment_strategy: ``WORKER_KAFKA__PARTITION_ASSIGNMENT_STRATEGY``.
        session_timeout_ms: ``WORKER_KAFKA__SESSION_TIMEOUT_MS``; 0 where the broker decides.
        login: The way to the brokers.
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
        """Read it from librdkafka's properties."""
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
        """Say what to do about an error that ends the process."""
        protocol = f"WORKER_KAFKA__GROUP_PROTOCOL ({self.group_protocol})"
        given = self.partition_assignment_strategy or "the broker decides"
        strategy = f"WORKER_KAFKA__PARTITION_ASSIGNMENT_STRATEGY ({given})"
        group = f"the group {self.group_id!r} (WORKER_KAFKA__GROUP_ID)"
        instance = f"WORKER_KAFKA__GROUP_INSTANCE_ID ({self.instance_id or 'not set'})"
        topics = f"{', '.join(self.input_topics)} (WORKER_KAFKA__INPUT_TOPICS)"
        hints = {
            "TOPIC_AUTHORIZATION_FAILED": f"Grant its principal READ on the input topics {topics}.",
            "GROUP_AUTHORIZATION_FAILED": f"Grant its principal READ on {group}.",
            "INVALID_SESSION_TIMEOUT": f"WORKER_KAFKA__SESSION_TIMEOUT_MS ({self.session_timeout_ms}) must lie "
            "between the broker's group.min.session.timeout.ms and group.max.session.timeout.ms.",
            "INCONSISTENT_GROUP_PROTOCOL": f"Other members of {group} have another {strategy} or {protocol}: stop "
            "them all before you change it.",
            "FENCED_INSTANCE_ID": f"Another live process of {group} has this {instance}: each needs its own.",
            "GROUP_MAX_SIZE_REACHED": f"The broker's group.max.size allows no more members in {group}: stop some.",
            "_FATAL": f"If it speaks of group.instance.id, each live process needs its own {instance}.",
            "UNSUPPORTED_VERSION": f"{protocol} needs brokers that have it: use classic.",
        }
        return hints.get(code, "")


class ClientErrors:
    """Errors since the last poll, and how long some of them have lasted."""

    def __init__(self, membership: Membership, admin_config: Mapping[str, Any]) -> None:
        self._membership = membership
        self._topics = TopicQuery(admin_config)
        self._recorded: list[KafkaError] = []
        self._unauthenticated_ms: tuple[int, int] | None = None  # first and last time in a row
        self._missing_since_ms: dict[str, int] = {}
        self._looked_at_ms = 0
        self._said_at_ms: int | None = None

    def record(self, error: KafkaError) -> None:
        """Notes an error; never raises."""
        self._recorded.append(error)

    def handle(self, now_ms: int) -> None:
        """Decides what follows from the notes; never waits.

        Raises:
            KafkaFatalError: Kafka won't have us.
        """
        recorded, self._recorded = self._recorded, []
        for error in recorded:
            what = CONSUMER_ERRORS.get(error.name(), ErrorAction.WAIT)
            if what is ErrorAction.STOP:
                hint = self._membership.hint(error.name())
                raise KafkaFatalError(f"Kafka refuses: {error.str()} ({error.name()}). {hint}".rstrip())
            if what is ErrorAction.CHECK_TOPIC:
                for topic in self._membership.input_topics:
                    self._missing_since_ms.setdefault(topic, now_ms)
            elif settings := self._membership.login.settings_to_look_at(error.name(), error.str()):
                self._refuse_unauthenticated(error, settings, now_ms)
            elif self._said_at_ms is None or now_ms - self._said_at_ms >= _SAY_AGAIN_MS:
                self._said_at_ms = now_ms
                log.warning("Kafka: %s; going on trying%s", error.str(), self._wait_hint(error.name()))
        if self._missing_since_ms:
            self._look_for_missing(now_ms)

    def _wait_hint(self, code: str) -> str:
        if code != "_ALL_BROKERS_DOWN":
            return ""
        return f" (if it lasts, look at {self._membership.login.way} and at the network)"

    def _refuse_unauthenticated(self, error: KafkaError, settings: str, now_ms: int) -> None:
        first_ms, last_ms = self._unauthenticated_ms or (now_ms, now_ms)
        if now_ms - last_ms > _AUTHENTICATION_FORGOTTEN_MS:
            first_ms = now_ms
        self._unauthenticated_ms = (first_ms, now_ms)
        if now_ms - first_ms >= _AUTHENTICATION_MS_MAX:
            raise KafkaFatalError(f"Kafka won't let us in: {error.str()}. Look at {settings}.")

    def _look_for_missing(self, now_ms: int) -> None:
        """Asks the brokers about the topics that were reported missing: a report alone is not to be trusted.

        A code below 0 is librdkafka's own: no broker has said anything.
        """
        for topic, error in self._topics.answers().items():
            since_ms = self._missing_since_ms[topic]
            if error is None:
                del self._missing_since_ms[topic]
            elif error.code() > 0 and now_ms - since_ms >= _TOPIC_MISSING_MS_MAX:
                raise KafkaFatalError(
                    f"the input topic {topic!r} is not there: {error.str()}. Create it with moderation-worker "
                    "topics create, or name another in WORKER_KAFKA__INPUT_TOPICS "
                    f"({','.join(self._membership.input_topics)})."
                )
        if now_ms - self._looked_at_ms >= _LOOK_AGAIN_MS and self._topics.ask(list(self._missing_since_ms)):
            self._looked_at_ms = now_ms


class TopicQuery:
    """Asks the brokers whether topics exist; nobody waits for the answers, which may take seconds."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._admin: AdminClient | None = None
        self._asked: dict[str, Future[Any]] = {}

    def ask(self, topics: Sequence[str]) -> bool:
        """Asks about some topics, unless a question is under way or there is none to ask about."""
        if self._asked or not topics:
            return False
        self._admin = self._admin or AdminClient({"log_level": 0, **self._config})
        self._asked = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=_ANSWER_S_MAX)
        return True

    def answers(self) -> dict[str, KafkaError | None]:
        """Gives each topic's error, None if it exists; nothing while an answer is missing."""
        if not all(answer.done() for answer in self._asked.values()):
            return {}
        asked, self._asked = self._asked, {}
        faults = {topic: answer.exception() for topic, answer in asked.items()}
        return {topic: None if fault is None else fault.args[0] for topic, fault in faults.items()}
