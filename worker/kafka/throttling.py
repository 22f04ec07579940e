"""A broker's quotas make a worker slow, and a slow partition is not a stalled one (KAFKA-9677)."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import ThrottleEvent

log = logging.getLogger(__name__)

_AGAIN_MS = 60_000
_QUOTAS = {"consumer": ("reading", "consumer_byte_rate"), "producer": ("publishing", "producer_byte_rate")}


class Throttling:
    """What brokers say about the quota of one of our clients.

    Args:
        client: ``consumer`` or ``producer``.
        config: Its properties, for whom the quota goes by.
        clock: The time in milliseconds.

    Attributes:
        total_s: All delays that brokers have announced.
    """

    def __init__(self, client: str, config: Mapping[str, Any], clock: Callable[[], int]) -> None:
        self.total_s = 0.0
        self._client = client
        self._user = throttled_client(config)
        self._clock = clock
        self._recorded = False
        self._until_ms = 0
        self._logged_ms: int | None = None

    def record(self, event: ThrottleEvent) -> None:
        """Note what a broker says, and log it now and then; librdkafka's ``throttle_cb``."""
        if event.throttle_time <= 0:
            return
        now_ms, throttle_ms = self._clock(), round(event.throttle_time * 1000)
        self.total_s += event.throttle_time
        self._recorded = True
        self._until_ms = max(self._until_ms, now_ms + throttle_ms)
        if self._logged_ms is None or now_ms - self._logged_ms >= _AGAIN_MS:
            self._logged_ms = now_ms
            doing, quota = _QUOTAS[self._client]
            log.warning(
                "broker %s throttles this %s by %d ms (%.1f s in all): a quota is exceeded, and %s is slow. Raise "
                "%s (or request_percentage) of %s",
                event.broker_name,
                self._client,
                throttle_ms,
                self.total_s,
                doing,
                quota,
                self._user,
            )

    def is_throttled(self) -> bool:
        """Tell whether a broker delays the answers to this client, or has done so since the last call."""
        recorded, self._recorded = self._recorded, False
        return recorded or self._clock() < self._until_ms


def throttled_client(config: Mapping[str, Any]) -> str:
    """Name the user and the client id that a quota goes by."""
    client_id = f"client id {config.get('client.id', 'rdkafka')!r} (client.id)"
    user = config.get("sasl.username")
    return f"user {user!r} (WORKER_KAFKA__SASL_USERNAME), {client_id}" if user else client_id
