"""Resolve the messages of a batch: each distinct message once, within a bound on memory."""

import sys
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from schemas.chat import ChatMessage, MessageContext
from worker.moderation.policies.globs import FIELDS, MessageFields
from worker.moderation.policies.policy import Policy, Resolution
from worker.records import ConsumedRecord, PreparedMessage, ScoredRecord

MEMORY_BYTES_MAX = 32 * 2**20
"""Memory of the remembered messages: 150,000 with ordinary ids."""
KEY_BYTES_MAX = 4096
"""Largest message that is remembered. One id of a megabyte must not push out thousands of others."""
_ENTRY_BYTES = 120
"""Memory of a dictionary's entry, and what ``sys.getsizeof`` leaves out."""
_NO_CONTEXT = MessageContext()
_Key = tuple[Any, ...]


class Resolver:
    """Remembers what a policy says about messages, by the fields that matter to the policy. One thread uses it.

    The memory is in two halves. When the younger half is full, it becomes the older one, and the older one is
    dropped. What is found in the older half moves to the younger one.
    """

    def __init__(self, policy: Policy, bytes_max: int = MEMORY_BYTES_MAX) -> None:
        self._policy = policy
        self._fields = [field for field in FIELDS if field in policy.fields]
        self._half_bytes_max = bytes_max // 2
        self._young: dict[_Key, Resolution] = {}
        self._old: dict[_Key, Resolution] = {}
        self._young_bytes = 0

    def resolve_all(self, results: Sequence[ScoredRecord]) -> list[Resolution]:
        """Return what the policy says about each record. A record without a message has no fields but the topic."""
        if not self._fields:
            return [self._policy.base] * len(results)
        keys = zip(*(self._column(field, results) for field in self._fields), strict=True)
        find = self._young.get
        return [find(key) or self._resolve(key) for key in keys]

    @property
    def size_bytes(self) -> int:
        """Memory of the younger half."""
        return self._young_bytes

    def _column(self, field: str, results: Sequence[ScoredRecord]) -> list[Any]:
        if field == "topic":
            return [result.record.source.partition.topic for result in results]
        messages = [result.record.content for result in results]
        if field == "channel_id":
            return [one.channel_id if isinstance(one, PreparedMessage) else None for one in messages]
        if field == "user_id":
            return [one.user_id if isinstance(one, PreparedMessage) else None for one in messages]
        contexts = [
            (one.context or _NO_CONTEXT) if isinstance(one, PreparedMessage) else _NO_CONTEXT for one in messages
        ]
        return [*map(attrgetter(field), contexts)]

    def _resolve(self, key: _Key) -> Resolution:
        if (found := self._young.get(key) or self._old.get(key)) is None:
            found = self._policy.resolve(MessageFields(**dict(zip(self._fields, key, strict=True))))
        self._remember(key, found)
        return found

    def _remember(self, key: _Key, found: Resolution) -> None:
        strings = [part for value in key for part in (value if isinstance(value, tuple) else (value,))]
        size_bytes = _ENTRY_BYTES + sys.getsizeof(key) + sum(map(sys.getsizeof, strings))
        if size_bytes > min(KEY_BYTES_MAX, self._half_bytes_max):
            return
        if self._young_bytes + size_bytes > self._half_bytes_max:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = found
        self._young_bytes += size_bytes


def scored_by(policy: Policy) -> Callable[[ConsumedRecord, ChatMessage], bool] | None:
    """Return what says whether a policy wants a decoded message scored; None if it wants all messages scored."""
    if not policy.unscored:
        return None
    return lambda source, chat: policy.is_scored(fields_of(source, chat))


def fields_of(source: ConsumedRecord, chat: ChatMessage) -> MessageFields:
    """Return what the conditions of a policy see of a decoded message."""
    context = chat.context or _NO_CONTEXT
    return MessageFields(source.partition.topic, chat.channel_id, chat.user_id, *context)
