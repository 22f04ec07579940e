"""How many partitions the output topics have, asked without holding the owner for more than a second.

A question may take up to its whole time-out: where one answer takes 1.2 s, slices of one second never succeed. An
admin client asks, since only its answers can be waited for in slices.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from worker.errors import KafkaFatalError
from worker.kafka.clients import SLICE_S
from worker.kafka.publisher_options import VARIABLES
from worker.records import Topic

_ANSWER_S_MAX = 10.0  # with round trips of 1.2 s the first answer takes 4.8 s: connect, versions, metadata, answer
_HIDDEN_S_MAX = 3.0
_MISSING_MS_MAX = 5_000  # a broker that has just started may not know the topic yet


class OutputTopics:
    """The output topics' partition counts, and who asks for them.

    Args:
        names: The topics' names.
        config: librdkafka's properties for the admin client.
        heard: Takes the errors of questions that were not answered.
    """

    def __init__(
        self, names: Mapping[Topic, str], config: Mapping[str, Any], on_error: Callable[[KafkaError], None]
    ) -> None:
        self.partitions: dict[Topic, int] = {}
        self._names = names
        self._config = config
        self._on_error = on_error
        self._admin: AdminClient | None = None
        self._asked: dict[str, Future[Any]] = {}
        self._missing_since_ms: int | None = None

    def forget(self) -> None:
        """Has the next ``are_known`` ask again: a topic may have been deleted or made anew."""
        self.partitions.clear()

    def are_known(self, now_ms: int) -> bool:
        """Whether all counts are known; waits for answers for at most a second.

        Raises:
            KafkaFatalError: A topic is missing, or hidden from this principal.
        """
        if len(self.partitions) == len(self._names):
            return True
        asked = self._asked or self._ask()
        if wait(asked.values(), SLICE_S).not_done:
            return False
        self._asked = {}
        for topic, name in self._names.items():
            self._learn(topic, name, asked[name], now_ms)
        return len(self.partitions) == len(self._names)

    def hidden(self) -> str | None:
        """Names a topic that this principal may not describe, which it may not write either."""
        asked = self._ask()
        wait(asked.values(), _HIDDEN_S_MAX)
        for name, answer in asked.items():
            if answer.done() and _code(answer) == "TOPIC_AUTHORIZATION_FAILED":
                return name
        return None

    def _ask(self) -> dict[str, "Future[Any]"]:
        if self._admin is None:
            self._admin = AdminClient({"log_level": 0, **self._config})
        self._asked = self._admin.describe_topics(
            TopicCollection(sorted(set(self._names.values()))), request_timeout=_ANSWER_S_MAX
        )
        return self._asked

    def _learn(self, topic: Topic, name: str, answer: "Future[Any]", now_ms: int) -> None:
        code = _code(answer)
        if code is None and (count := len(answer.result().partitions)):
            self.partitions[topic] = count
            if len(self.partitions) == len(self._names):
                self._missing_since_ms = None
            return
        error = answer.exception()
        if isinstance(error, KafkaException) and (code or "").startswith("_"):  # the client's own: no answer came
            self._on_error(error.args[0])
            return
        self._missing_since_ms = self._missing_since_ms or now_ms
        if now_ms - self._missing_since_ms >= _MISSING_MS_MAX:
            why = "it has no partitions" if error is None else str(error.args[0])
            raise KafkaFatalError(
                f"the {topic.value} topic {name!r} ({VARIABLES[topic]}) can't be used: {why}. Create it with "
                "moderation-worker topics create, or grant WRITE on it."
            )


def _code(answer: "Future[Any]") -> str | None:
    """Gives librdkafka's name of the error; None for an answer without one."""
    error = answer.exception()
    if error is None:
        return None
    if not isinstance(error, KafkaException):
        raise error
    name: str = error.args[0].name()
    return name
