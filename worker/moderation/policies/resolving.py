"""Resolve the messages of a batch: each distinct message once, within a bound on memory."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from schemas.chat import ChatMessage, MessageContext
from worker.moderation.policies.globs import FIELDS, MessageFields
from worker.moderation.policies.policy import Policy, Resolution
from worker.records import ConsumedRecord, PreparedMessage, PreparedRecord, ScoredRecord

MEMORY_BYTES_MAX = 64 * 2**20
"""Memory of the remembered messages: 230,000 with ordinary ids."""
KEY_BYTES_MAX = 4096
"""Largest message that is remembered. One id of a megabyte must not push out thousands of others."""
_ENTRY_BYTES = 250
"""Memory of a dictionary's entry with a tuple of a few short strings."""
_CHARACTER_BYTES = 2
_NO_CONTEXT = MessageContext()
_NO_FIELDS = MessageFields()
_POSITIONS = {field: position for position, field in enumerate(FIELDS)}
_NO_MESSAGE = PreparedMessage("", None, None, None, 0, b"", (), truncated=False)


class Resolver:
    """Remembers what a policy says about messages, by the fields that matter to the policy. One thread uses it.

    The memory is in two halves. When the younger half is full, it becomes the older one, and the older one is
    dropped. What is found in the older half moves to the younger one.

    Most messages have no context (tenant, roles, language, edit), so their keys leave it out. The key of a message
    is the value of its only field, or a tuple of values. Keys with and without a context differ in their length.
    """

    def __init__(self, policy: Policy, bytes_max: int = MEMORY_BYTES_MAX) -> None:
        self._policy = policy
        self._fields = tuple(field for field in FIELDS if field in policy.fields)
        self._without_context = tuple(field for field in self._fields if field not in MessageContext._fields)
        self._half_bytes_max = bytes_max // 2
        self._young: dict[Any, Resolution] = {}
        self._old: dict[Any, Resolution] = {}
        self._young_bytes = 0

    def resolve_all(self, results: Sequence[ScoredRecord]) -> list[Resolution]:
        """Return what the policy says about each record. A record without a message has no fields but the topic."""
        if not self._fields:
            return [self._policy.base] * len(results)
        records = [result.record for result in results]
        contents = [record.content for record in records]
        messages = (
            contents
            if set(map(type, contents)) == {PreparedMessage}
            else [one if isinstance(one, PreparedMessage) else _NO_MESSAGE for one in contents]
        )
        contexts = [one.context for one in messages]  # type: ignore[union-attr] # all are messages
        fields = self._fields if any(contexts) else self._without_context
        columns = [_column(field, records, messages, contexts) for field in fields]
        if not columns:
            return [self._resolve((), ())] * len(results)
        keys = columns[0] if len(columns) == 1 else zip(*columns, strict=True)
        find = self._young.get
        return [find(key) or self._resolve(key, fields) for key in keys]

    @property
    def size_bytes(self) -> int:
        """Memory of the younger half, about."""
        return self._young_bytes

    def _resolve(self, key: Any, fields: Sequence[str]) -> Resolution:
        if (found := self._young.get(key) or self._old.get(key)) is None:
            values: list[Any] = [*_NO_FIELDS]
            for field, value in zip(fields, (key,) if len(fields) == 1 else key, strict=True):
                values[_POSITIONS[field]] = value
            found = self._policy.resolve(MessageFields._make(values))
        self._remember(key, found)
        return found

    def _remember(self, key: Any, found: Resolution) -> None:
        size_bytes = _ENTRY_BYTES + _CHARACTER_BYTES * _characters(key)
        if size_bytes > min(KEY_BYTES_MAX, self._half_bytes_max):
            return
        if self._young_bytes + size_bytes > self._half_bytes_max:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = found
        self._young_bytes += size_bytes


def _column(
    field: str,
    records: Sequence[PreparedRecord],
    messages: Sequence[Any],
    contexts: Sequence[MessageContext | None],
) -> list[Any]:
    """Return a field of each message."""
    if field == "topic":
        return [record.source.partition.topic for record in records]
    if field in MessageContext._fields:
        return [*map(attrgetter(field), [context or _NO_CONTEXT for context in contexts])]
    return [*map(attrgetter(field), messages)]


def _characters(key: Any) -> int:
    """Return the number of characters of all strings in a key."""
    if isinstance(key, str):
        return len(key)
    return sum(map(_characters, key)) if isinstance(key, tuple) else 0


def scored_by(policy: Policy) -> Callable[[ConsumedRecord, ChatMessage], bool] | None:
    """Return what says whether a policy wants a decoded message scored; None if it wants all messages scored."""
    if not policy.unscored:
        return None
    has_context = policy.unscored_have_context
    return lambda source, chat: (has_context and chat.context is None) or policy.is_scored(fields_of(source, chat))


def fields_of(source: ConsumedRecord, chat: ChatMessage) -> MessageFields:
    """Return what the conditions of a policy see of a decoded message."""
    context = chat.context or _NO_CONTEXT
    return MessageFields(source.partition.topic, chat.channel_id, chat.user_id, *context)
