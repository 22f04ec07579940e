"""A broker's quotas make a worker slow, and a slow partition is not a stalled one (KAFKA-9677)."""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import ThrottleEvent

log = logging.getLogger(__name__)

_AGAIN_MS = 60_000


class Throttling:
    """What brokers say about the consumer's quota.

    Args:
        user: The variable and value that a quota goes by, for the log.
    """

    def __init__(self, user: str) -> None:
        self._user = user
        self._heard: dict[str, float] = {}
        self._until_ms = 0
        self._logged_ms: int | None = None

    def hear(self, event: ThrottleEvent) -> None:
        """Note what a broker says; librdkafka's ``throttle_cb``."""
        if event.throttle_time > 0:
            heard = self._heard.get(event.broker_name, 0.0)
            self._heard[event.broker_name] = max(heard, event.throttle_time)

    def is_throttled(self, now_ms: int) -> bool:
        """Tell whether a broker delays the answers to this consumer; log it now and then."""
        heard, self._heard = self._heard, {}
        if heard:
            broker, longest_s = max(heard.items(), key=lambda one: one[1])
            longest_ms = round(longest_s * 1000)
            self._until_ms = max(self._until_ms, now_ms + longest_ms)
            if self._logged_ms is None or now_ms - self._logged_ms >= _AGAIN_MS:
                self._logged_ms = now_ms
                log.warning(
                    "broker %s throttles this consumer by %d ms: a quota is exceeded, and reading is slow. Raise "
                    "consumer_byte_rate (or request_percentage) of %s",
                    broker,
                    longest_ms,
                    self._user,
                )
        return bool(heard) or now_ms < self._until_ms


def throttled_client(config: Mapping[str, Any]) -> str:
    """Name the user and the client id that a quota goes by."""
    client_id = f"client id {config.get('client.id', 'rdkafka')!r} (client.id)"
    user = config.get("sasl.username")
    return f"user {user!r} (WORKER_KAFKA__SASL_USERNAME), {client_id}" if user else client_id
