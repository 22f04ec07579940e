"""Ask a policy about the messages of a batch: in columns, and only of the fields that the policy names. Pure.

Most messages have no context (tenant, roles, language, edit). If no message of the batch has one, the fields of the
context get no columns.
"""

from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from typing import Any

from schemas.chat import ChatMessage, MessageContext
from worker.moderation.policies.policy import Policy
from worker.moderation.policies.resolutions import Resolution
from worker.records import ConsumedRecord, PreparedMessage, ScoredRecord

FindUnscored = Callable[[Sequence[ConsumedRecord], Sequence[object]], Sequence[int]]
"""Returns the indexes of the messages that the model does not score, of records and what was read from each."""

_NO_CONTEXT = MessageContext()
_OF_CONTEXT = frozenset(MessageContext._fields)
_NO_MESSAGE = ChatMessage("")


def resolve_all(policy: Policy, results: Sequence[ScoredRecord]) -> list[Resolution]:
    """Return what a policy says about each record. A record without a message has no fields but the topic."""
    if not policy.fields:
        return [policy.base] * len(results)
    contents = [result.record.content for result in results]
    sources = [result.record.source for result in results] if "topic" in policy.fields else ()
    columns = _columns(policy.fields, sources, _messages(contents, PreparedMessage))
    return policy.resolve_each(columns, len(results))


def unscored_by(policy: Policy) -> FindUnscored | None:
    """Return what finds the decoded messages that a policy does not want scored; None if it wants all scored."""
    if not policy.unscored:
        return None

    def find(sources: Sequence[ConsumedRecord], readings: Sequence[object]) -> Sequence[int]:
        chats = _messages(readings, ChatMessage)
        if policy.unscored_have_context and not any(chat.context for chat in chats):
            return ()
        are_scored = policy.are_scored(_columns(policy.exempt_fields, sources, chats), len(chats))
        return [
            index
            for index, is_scored in enumerate(are_scored)
            if not is_scored and type(readings[index]) is ChatMessage
        ]

    return find


def _messages(contents: Sequence[object], kind: type) -> Sequence[Any]:
    """Return the messages of a batch, with a message without fields in each other place."""
    if set(map(type, contents)) == {kind}:
        return contents
    return [one if type(one) is kind else _NO_MESSAGE for one in contents]


def _columns(
    fields: Collection[str], sources: Sequence[ConsumedRecord], messages: Sequence[Any]
) -> dict[str, Sequence[Any]]:
    """Return the values of each field. The fields of the context have no columns if no message has a context."""
    columns: dict[str, Sequence[Any]] = {}
    contexts = None
    if not _OF_CONTEXT.isdisjoint(fields) and any(found := [message.context for message in messages]):
        contexts = [context or _NO_CONTEXT for context in found]
    for field in fields:
        if field == "topic":
            columns[field] = [source.partition.topic or None for source in sources]  # a line of classify has none
        elif field not in _OF_CONTEXT:
            columns[field] = [*map(attrgetter(field), messages)]
        elif contexts is not None:
            columns[field] = [*map(attrgetter(field), contexts)]
    return columns
