"""Clients of librdkafka, what they report beside their calls, and their errors as plain data."""

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
"""Of time, for a call that waits for a broker, and that goes on where it was when it is made again."""
_CUT = frozenset({"FAIL", "REQTMOUT"})  # librdkafka's facilities: a connection ended, a request was given up


def slice_s(failed: int, left_s: float) -> float:
    """Give how long the next try of a call may wait, for a call that begins anew each time that it is made.

    The slices double: 1, 2, 4 s. Slices of one second would never succeed where one answer takes longer.

    Args:
        failed: How many tries had no answer.
        left_s: The rest of the whole time-out.
    """
    return max(0.0, min(SLICE_S * float(2**failed), left_s))


class Overheard:
    """librdkafka's log: it alone tells of a connection that ended and came back, with a request sent twice.

    The error callback hears of none that is mended by itself, and an EndTxn that was under way then may arrive in
    the middle of the next transaction of the same epoch and end it (KAFKA-17754).
    """

    def __init__(self, cut: Callable[[str], None]) -> None:
        self._cut = cut

    def log(self, level: int, form: str, facility: str, *rest: str) -> None:
        """As a logger's."""
        # At this level a connection ends on purpose: it was idle, or belongs to a client that ends.
        if facility in _CUT and level > logging.DEBUG:
            self._cut(rest[-1])
        librdkafka_log.log(level, form, facility, *rest)


Client = TypeVar("Client", AdminClient, Consumer, Producer)


def client(kind: type[Client], config: Mapping[str, Any], logger: object = librdkafka_log) -> Client:
    """Makes a client of librdkafka.

    Raises:
        ConfigurationError: A property is unknown to it, or has a value that it doesn't take.
    """
    try:
        return kind(dict(config), logger=logger)
    except KafkaException as error:
        said = re.sub('value "[^"]*"', "value", error.args[0].str().strip())  # it may be a secret
        settings = "WORKER_KAFKA__PROPERTIES"
        if "SASL mechanism" in said:
            settings = f"WORKER_KAFKA__SASL_MECHANISM ({config.get('sasl.mechanism')})"
        elif "ssl." in said:
            settings = "WORKER_KAFKA__SSL_* and WORKER_KAFKA__PROPERTIES"
        raise ConfigurationError(f"{settings}: librdkafka refuses: {said}") from error


def failure_of(error: KafkaError) -> Failure:
    """A Kafka error as plain data."""
    return Failure(
        code=error.name(),
        retriable=error.retriable(),
        abortable=error.txn_requires_abort(),
        fatal=error.fatal(),
        text=error.str(),
    )
