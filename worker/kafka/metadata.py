"""Wait for a new client's first metadata, and tell a wrong login from a broker that is away."""

import itertools
import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata  # type: ignore[attr-defined] # exported at run time

from worker.errors import KafkaFatalError
from worker.kafka.clients import slice_s
from worker.kafka.login import Login

ANSWER_MS_MAX = 30_000
"""A link with 3 s for each round trip needs about 20 s for TCP, TLS, a login by SCRAM and the first answer."""
REFUSED_MS_MAX = 10_000
"""How long to wait for brokers that refuse the connection or cannot be found: they may be about to start."""


class NoMetadataError(Exception):
    """No broker gave metadata.

    Attributes:
        error: The last error that librdkafka reported.
        settings: The login settings to check, with their values; empty if the login is not the cause.
        waited_ms: How long this client has waited.
    """

    def __init__(self, error: KafkaError, *, settings: str, waited_ms: int) -> None:
        super().__init__(error.str())
        self.error = error
        self.settings = settings
        self.waited_ms = waited_ms


def wait_for_metadata(
    client: AdminClient | Consumer,
    errors: Sequence[KafkaError],
    login: Login,
    *,
    topic: str | None = None,
    timeout_ms_max: int = ANSWER_MS_MAX,
) -> ClusterMetadata:
    """Return the metadata of the cluster.

    The wait is cut into slices, because only the error callback learns of a wrong password, and librdkafka calls it
    only when the client is polled.

    Args:
        client: The client that asks. A consumer must have no partitions assigned, because this function polls it.
        errors: The list to which the client's error callback appends.
        login: How the client logs in.
        topic: Ask about this topic only. None means all topics.
        timeout_ms_max: How long to wait for a silent broker. After a refused connection the wait is shorter.

    Raises:
        NoMetadataError: No broker answered in time, or a broker refused the login.
    """
    began_s = time.monotonic()
    for failed in itertools.count():
        left_s = began_s + _wait_ms_max(errors, timeout_ms_max) / 1000 - time.monotonic()
        try:
            metadata: ClusterMetadata = client.list_topics(topic, timeout=slice_s(failed, left_s))
        except KafkaException as failure:
            last: KafkaError = failure.args[0]
        else:
            return metadata
        client.poll(0)
        waited_ms = round((time.monotonic() - began_s) * 1000)
        for error in errors:
            if settings := login.settings_to_look_at(error.name(), error.str()):
                raise NoMetadataError(error, settings=settings, waited_ms=waited_ms)
        if waited_ms >= _wait_ms_max(errors, timeout_ms_max):
            raise NoMetadataError(errors[-1] if errors else last, settings="", waited_ms=waited_ms)
    raise AssertionError("the loop returns or raises")


def partition_counts(
    client: AdminClient | Consumer, errors: Sequence[KafkaError], login: Login, *, timeout_ms_max: int
) -> dict[str, int]:
    """Return the number of partitions of each topic that this user may see.

    Args:
        client: As of ``wait_for_metadata``.
        errors: As of ``wait_for_metadata``.
        login: As of ``wait_for_metadata``.
        timeout_ms_max: As of ``wait_for_metadata``.

    Raises:
        KafkaFatalError: No broker answered in time, or a broker refused the login.
    """
    try:
        metadata = wait_for_metadata(client, errors, login, timeout_ms_max=timeout_ms_max)
    except NoMetadataError as error:
        if error.settings:
            raise KafkaFatalError(f"Kafka refused the login ({error}). Check {error.settings}.") from error
        raise KafkaFatalError(
            f"No broker answered within {error.waited_ms} ms ({error}). Check {login.way}, and check that the "
            "network lets this client reach the brokers."
        ) from error
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _wait_ms_max(errors: Sequence[KafkaError], timeout_ms_max: int) -> int:
    """Return the longest wait for the first answer. Silence may be a slow link; a reported error is not silence."""
    return min(timeout_ms_max, REFUSED_MS_MAX) if errors else timeout_ms_max
