"""The messages of a proof, as events of the shape that the workers read. Pure.

Most messages are chat. Some are unreadable, blank, skipped, a tombstone, or an array of several messages.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from worker.kafka.topics import PARTITIONS

BY_KEY = -1
"""librdkafka's RD_KAFKA_PARTITION_UA: the producer chooses the partition by the key."""

DEFAULT_SHAPE = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRecord:
    """A record to write."""

    value: bytes | None
    key: bytes | None = None
    partition: int = BY_KEY


Event = Mapping[str, Any]


def _plain(text: str, channel_id: int) -> Event:
    return {"text": text, "channel_id": channel_id}


def _discord(text: str, channel_id: int) -> Event:
    message = {"id": "1", "type": 0, "content": text, "channel_id": str(channel_id), "author": {"id": "2"}}
    return {"op": 0, "t": "MESSAGE_CREATE", "d": message}


def _slack(text: str, channel_id: int) -> Event:
    message = {
        "type": "message",
        "channel": f"C{channel_id}",
        "user": "U1",
        "text": text,
        "ts": "1769851800.000100",
    }
    return {"type": "event_callback", "team_id": "T1", "event": message}


@dataclass(frozen=True, slots=True)
class _Events:
    chat: Callable[[str, int], Event]
    skipped: Event | None


EVENTS: Mapping[str, _Events] = {
    DEFAULT_SHAPE: _Events(_plain, None),  # this shape skips nothing
    "discord": _Events(_discord, {"op": 0, "t": "TYPING_START", "d": {"channel_id": "1", "user_id": "2"}}),
    "slack": _Events(_slack, {"type": "event_callback", "event": {"type": "reaction_added", "user": "U1"}}),
}
"""How a proof writes chat, and a record that is not chat, for each shape that it knows."""


def messages_of(shape: str) -> Callable[[int], FeedRecord]:
    """Return the function that makes the record of a number, from 0. The partitions take turns.

    Args:
        shape: A name of ``EVENTS``.
    """
    events = EVENTS[shape]

    def record(number: int) -> FeedRecord:
        chat, event = events.chat(f"message {number}", number % 40), None
        match number % 100:
            case 7:
                return FeedRecord(value=None, partition=number % PARTITIONS)
            case 23 | 73:
                return FeedRecord(value=b"no JSON", partition=number % PARTITIONS)
            case 41:
                event = events.chat(" ", 1)
            case 57:
                event = events.skipped
            case 89:
                return FeedRecord(value=orjson.dumps([chat, 7, chat]), partition=number % PARTITIONS)
        return FeedRecord(value=orjson.dumps(chat if event is None else event), partition=number % PARTITIONS)

    return record
