"""What the session needs to know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.kafka.offset_reset import OffsetReset
from worker.kafka.publisher_options import PublisherOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What the session needs to know.

    Attributes:
        consumer_config: librdkafka's properties for the consumer.
        input_topics: The names of the topics to read.
        offset_reset: Where a partition without a committed offset starts.
        incremental_rebalance: Whether the group rebalances incrementally: cooperative-sticky and KIP-848 do.
        publisher: What the publisher needs to know.
        admin_config: librdkafka's properties for the clients that ask for offsets and topics.
        is_readable: Whether a record's value holds a chat message.
        end_offset_interval_ms: Time from one question about the ends of the logs to the next.
        stall_timeout_ms: How long a partition may stand still although there are records to read.
        blocked_warning_ms: How long another producer's transaction may be open without a warning.
    """

    consumer_config: Mapping[str, Any]
    input_topics: Sequence[str]
    offset_reset: OffsetReset
    incremental_rebalance: bool
    publisher: PublisherOptions
    admin_config: Mapping[str, Any]
    is_readable: Callable[[bytes], bool]
    end_offset_interval_ms: int = 5_000
    stall_timeout_ms: int = 30_000
    blocked_warning_ms: int = 20_000
