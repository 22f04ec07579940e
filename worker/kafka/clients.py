"""Clients of librdkafka, what librdkafka reports outside the calls, and its errors as plain data."""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from worker.errors import ConfigurationError
from worker.kafka.transaction import Failure

librdkafka_log = logging.getLogger("librdkafka")

SLICE_S = 1.0
"""Time-out of a call that waits for a broker and that the next call of the same kind continues."""
_CONNECTION_LOST = frozenset(
    {"FAIL", "REQTMOUT"}
)  # librdkafka's facilities: a connection ended, a request timed out


def slice_s(failed: int, left_s: float) -> float:
    """Return the time-out of the next try of a call that begins again each time.

    The time-outs double: 1, 2, 4 s. Time-outs of one second would never succeed where one answer takes longer.

    Args:
        failed: Number of tries without an answer.
        left_s: The rest of the whole time-out in seconds.
    """
    return max(0.0, min(SLICE_S * float(2**failed), left_s))


class ConnectionLossLogger:
    """The logger of a producer. It passes librdkafka's lines on, and reports connections that were lost.

    Only the log names a connection that ended and came back. The error callback does not get such an error. But a
    request may have been sent twice: an EndTxn that was under way may arrive during the next transaction of the
    same epoch and end that transaction (KAFKA-17754).

    Args:
        on_loss: Receives the text of the line.
    """

    def __init__(self, on_loss: Callable[[str], None]) -> None:
        self._on_loss = on_loss

    def log(self, level: int, form: str, facility: str, *rest: str) -> None:
        """Log a line of librdkafka, as ``logging.Logger.log`` does."""
        # At the level DEBUG a connection ends on purpose: it was idle, or its client is being closed.
        if facility in _CONNECTION_LOST and level > logging.DEBUG:
            self._on_loss(rest[-1])
        librdkafka_log.log(level, form, facility, *rest)


Client = TypeVar("Client", AdminClient, Consumer, Producer)


def client(kind: type[Client], config: Mapping[str, Any], logger: object = librdkafka_log) -> Client:
    """Create a client of librdkafka.

    Raises:
        ConfigurationError: librdkafka does not know a property, or does not accept its value.
    """
    try:
        return kind(dict(config), logger=logger)
    except KafkaException as error:
        said = re.sub('value "[^"]*"', "value", error.args[0].str().strip())  # the value may be a secret
        settings = "WORKER_KAFKA__PROPERTIES"
        if "SASL mechanism" in said:
            settings = f"WORKER_KAFKA__SASL_MECHANISM ({config.get('sasl.mechanism')})"
        elif "ssl." in said:
            settings = "WORKER_KAFKA__SSL_* and WORKER_KAFKA__PROPERTIES"
        raise ConfigurationError(f"{settings}: librdkafka refuses: {said}") from error


def failure_of(error: KafkaError) -> Failure:
    """Return a Kafka error as plain data."""
    return Failure(
        code=error.name(),
        retriable=error.retriable(),
        abortable=error.txn_requires_abort(),
        fatal=error.fatal(),
        text=error.str(),
    )
