"""What librdkafka reports beside its calls, and when it is too much to go on.

Callbacks only note (``hear``): they may run inside a commit that succeeds, where an exception would say that it
failed. The session acts on the notes once a poll.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from worker.errors import KafkaRefused
from worker.login import settings_to_look_at
from worker.transaction import CONSUMER_ERRORS, Refusal

log = logging.getLogger(__name__)

_AUTHENTICATION_MS_MAX = 5_000  # a broker that is starting may refuse for a moment
_AUTHENTICATION_FORGOTTEN_MS = 30_000
_TOPIC_MISSING_MS_MAX = 10_000  # as may one whose metadata is not loaded
_LOOK_AGAIN_MS = 1_000
_SAY_AGAIN_MS = 10_000

_HINTS = {
    "TOPIC_AUTHORIZATION_FAILED": "Grant its principal READ on the input topics.",
    "GROUP_AUTHORIZATION_FAILED": "Grant its principal READ on the group WORKER_KAFKA__GROUP_ID.",
    "INVALID_SESSION_TIMEOUT": "WORKER_KAFKA__SESSION_TIMEOUT_MS must lie between the broker's "
    "group.min.session.timeout.ms and group.max.session.timeout.ms.",
    "INCONSISTENT_GROUP_PROTOCOL": "The group's other members have another WORKER_KAFKA__ASSIGNMENT_STRATEGY or "
    "WORKER_KAFKA__GROUP_PROTOCOL: stop them all before you change it.",
    "FENCED_INSTANCE_ID": "Another live process has this WORKER_KAFKA__GROUP_INSTANCE_ID: each needs its own.",
    "_FATAL": "If it speaks of group.instance.id, each live process needs its own WORKER_KAFKA__GROUP_INSTANCE_ID.",
    "UNSUPPORTED_VERSION": "WORKER_KAFKA__GROUP_PROTOCOL=consumer needs brokers that have it: use classic.",
}
_WAIT_HINTS = {
    "_ALL_BROKERS_DOWN": " (if it lasts: WORKER_KAFKA__BOOTSTRAP_SERVERS and SECURITY_PROTOCOL, and the network)"
}


class Complaints:
    """Errors since the last poll, and how long some of them have lasted."""

    def __init__(self, input_topics: Sequence[str]) -> None:
        self._input_topics = input_topics
        self._heard: list[KafkaError] = []
        self._unauthenticated_ms: tuple[int, int] | None = None  # first and last time in a row
        self._missing_since_ms: dict[str, int] = {}
        self._looked_at_ms = 0
        self._said_at_ms: int | None = None

    def hear(self, error: KafkaError) -> None:
        """Notes an error; never raises."""
        self._heard.append(error)

    def act(self, now_ms: int, list_topics: Callable[..., Any]) -> None:
        """Decides what follows from the notes.

        Args:
            now_ms: The time.
            list_topics: Asks the brokers, where a report alone is not to be trusted.

        Raises:
            KafkaRefused: Kafka won't have us.
        """
        heard, self._heard = self._heard, []
        for error in heard:
            what = CONSUMER_ERRORS.get(error.name(), Refusal.WAIT)
            if what is Refusal.STOP:
                hint = _HINTS.get(error.name(), "")
                raise KafkaRefused(f"Kafka refuses: {error.str()} ({error.name()}). {hint}".rstrip())
            if what is Refusal.MISSING:
                for topic in self._input_topics:
                    self._missing_since_ms.setdefault(topic, now_ms)
            elif settings := settings_to_look_at(error.name(), error.str()):
                self._refuse_unauthenticated(error, settings, now_ms)
            elif self._said_at_ms is None or now_ms - self._said_at_ms >= _SAY_AGAIN_MS:
                self._said_at_ms = now_ms
                log.warning("Kafka: %s; going on trying%s", error.str(), _WAIT_HINTS.get(error.name(), ""))
        if self._missing_since_ms and now_ms - self._looked_at_ms >= _LOOK_AGAIN_MS:
            self._looked_at_ms = now_ms
            self._look_for_missing(now_ms, list_topics)

    def _refuse_unauthenticated(self, error: KafkaError, settings: str, now_ms: int) -> None:
        first_ms, last_ms = self._unauthenticated_ms or (now_ms, now_ms)
        if now_ms - last_ms > _AUTHENTICATION_FORGOTTEN_MS:
            first_ms = now_ms
        self._unauthenticated_ms = (first_ms, now_ms)
        if now_ms - first_ms >= _AUTHENTICATION_MS_MAX:
            raise KafkaRefused(f"Kafka won't let us in: {error.str()}. Look at {settings}.")

    def _look_for_missing(self, now_ms: int, list_topics: Callable[..., Any]) -> None:
        """Looks whether the topics that were reported missing have come."""
        for topic, since_ms in list(self._missing_since_ms.items()):
            try:
                error = list_topics(topic, timeout=1.0).topics[topic].error
            except KafkaException:
                return
            if error is None:
                del self._missing_since_ms[topic]
            elif now_ms - since_ms >= _TOPIC_MISSING_MS_MAX:
                raise KafkaRefused(
                    f"the input topic {topic!r} is not there: {error.str()}. Create it with moderation-worker "
                    "topics create, or name another in WORKER_KAFKA__INPUT_TOPICS."
                )
