"""How many partitions the output topics have. An answer is awaited for at most a second at a time.

The brokers may take longer to answer: where one round trip takes 1.2 s, questions of one second never succeed. So
an admin client asks, since only its answers can be awaited in several steps.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from worker.errors import KafkaFatalError
from worker.kafka.clients import SLICE_S
from worker.kafka.offset_queries import OffsetQueries
from worker.kafka.publisher_options import VARIABLES
from worker.records import OutputRecord, Topic

_ANSWER_S_MAX = 10.0  # with round trips of 1.2 s the first answer takes 4.8 s: connect, versions, metadata, answer
_HIDDEN_S_MAX = 3.0
_MISSING_MS_MAX = 5_000  # a broker that has just started may not know the topic yet


class OutputTopics:
    """The partition counts of the output topics.

    Args:
        names: The names of the topics.
        config: librdkafka's properties for the admin client.
        on_error: Receives the error of a question that no broker has answered.

    Attributes:
        partitions: The number of partitions of each topic that is known.
    """

    def __init__(
        self, names: Mapping[Topic, str], config: Mapping[str, Any], on_error: Callable[[KafkaError], None]
    ) -> None:
        self.partitions: dict[Topic, int] = {}
        self._names = names
        self._queries = OffsetQueries(config, answer_s_max=_ANSWER_S_MAX)
        self._on_error = on_error
        self._asked: Mapping[str, Future[Any]] = {}
        self._missing_since_ms: int | None = None

    def forget(self) -> None:
        """Forget the counts: a topic may have been deleted, or created again. The next ``are_known`` asks again."""
        self.partitions.clear()

    def are_known(self, now_ms: int) -> bool:
        """Return whether all counts are known. Wait for answers for at most a second.

        Raises:
            KafkaFatalError: For five seconds the brokers have not shown a topic: it is missing, or this principal
                may not describe it.
        """
        if len(self.partitions) == len(self._names):
            return True
        asked = self._asked or self._ask()
        if wait(asked.values(), SLICE_S).not_done:
            return False
        self._asked = {}
        for topic, name in self._names.items():
            self._record_answer(topic, name, asked[name], now_ms)
        return len(self.partitions) == len(self._names)

    def destination(self, output: OutputRecord) -> tuple[str, int]:
        """Return the topic and the partition that an output goes to; only when ``are_known``."""
        return self._names[output.topic], output.source.partition.number % self.partitions[output.topic]

    def hidden(self) -> str | None:
        """Return a topic that this principal may not describe, and so may not write; None if there is none."""
        asked = self._ask()
        wait(asked.values(), _HIDDEN_S_MAX)
        for name, answer in asked.items():
            if answer.done() and _code(answer) == "TOPIC_AUTHORIZATION_FAILED":
                return name
        return None

    def _ask(self) -> Mapping[str, "Future[Any]"]:
        self._asked = self._queries.describe_topics(set(self._names.values()))
        return self._asked

    def _record_answer(self, topic: Topic, name: str, answer: "Future[Any]", now_ms: int) -> None:
        code = _code(answer)
        if code is None and (count := len(answer.result().partitions)):
            self.partitions[topic] = count
            if len(self.partitions) == len(self._names):
                self._missing_since_ms = None
            return
        error = answer.exception()
        is_librdkafka_code = (code or "").startswith("_")  # librdkafka's own: no broker has answered
        if isinstance(error, KafkaException) and is_librdkafka_code:
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
    """Return librdkafka's name of the error; None for an answer without an error."""
    error = answer.exception()
    if error is None:
        return None
    if not isinstance(error, KafkaException):
        raise error
    name: str = error.args[0].name()
    return name
