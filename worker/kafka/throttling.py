"""Throttling: the quotas of a broker make a client slow, and a slow partition is not a stalled one (KAFKA-9677)."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import ThrottleEvent

from worker.kafka.log_interval import LogInterval

log = logging.getLogger(__name__)

_LOG_AGAIN_MS = 60_000
_ACTIVITIES_AND_QUOTAS = {
    "consumer": ("reading", "consumer_byte_rate"),
    "producer": ("publishing", "producer_byte_rate"),
}


class Throttling:
    """How brokers throttle one of this worker's clients.

    Args:
        client: ``consumer`` or ``producer``.
        config: The client's properties. They name the user and the client id that the quota is set for.
        clock: Returns milliseconds.

    Attributes:
        total_s: Sum of the delays that brokers have announced, in seconds.
    """

    def __init__(self, client: str, config: Mapping[str, Any], clock: Callable[[], int]) -> None:
        self.total_s = 0.0
        self._client = client
        self._user = throttled_client(config)
        self._clock = clock
        self._recorded = False
        self._until_ms = 0
        self._log_interval = LogInterval(_LOG_AGAIN_MS)

    def record(self, event: ThrottleEvent) -> None:
        """Record a delay that a broker announces, and log it at most once a minute: the ``throttle_cb``."""
        if event.throttle_time <= 0:
            return
        now_ms, throttle_ms = self._clock(), round(event.throttle_time * 1000)
        self.total_s += event.throttle_time
        self._recorded = True
        self._until_ms = max(self._until_ms, now_ms + throttle_ms)
        if self._log_interval.due(now_ms):
            activity, quota = _ACTIVITIES_AND_QUOTAS[self._client]
            log.warning(
                "broker %s throttles this %s by %d ms (%.1f s in all): a quota is exceeded, so %s is slow. Raise "
                "%s (or request_percentage) of %s",
                event.broker_name,
                self._client,
                throttle_ms,
                self.total_s,
                activity,
                quota,
                self._user,
            )

    def is_throttled(self) -> bool:
        """Return whether a broker delays the answers to this client, or has delayed them since the last call."""
        recorded, self._recorded = self._recorded, False
        return recorded or self._clock() < self._until_ms


def throttled_client(config: Mapping[str, Any]) -> str:
    """Return the user and the client id that a quota is set for, with the settings that set them."""
    client_id = f"client id {config.get('client.id', 'rdkafka')!r} (client.id)"
    user = config.get("sasl.username")
    return f"user {user!r} (WORKER_KAFKA__SASL_USERNAME), {client_id}" if user else client_id
