"""Validate the W3C trace context of a message: no malformed header reaches an output or OpenTelemetry. Pure.

Source: W3C Recommendation "Trace Context", sections 3.2 and 3.3.
"""

import re
from typing import NamedTuple

from worker.records import Headers

PARENT, STATE = "traceparent", "tracestate"

STATE_BYTES_MAX = 512
STATE_MEMBERS_MAX = 32

_PARENT = re.compile(
    rb"(?!ff)(?!00.{54})[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[\x21-\x7e]*)?",
    re.DOTALL,
)
"""A ``traceparent`` of version 00 has 55 characters; one of a later version may have more."""
_MEMBER = re.compile(
    rb"(?P<key>[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    rb"=(?P<value>[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])"
)


class TraceContext(NamedTuple):
    """A valid trace context.

    Attributes:
        traceparent: The value of the ``traceparent`` header, unchanged.
        tracestate: The values of the ``tracestate`` headers, joined with commas; empty when there is none, or when
            they are invalid.
        state: The members of ``tracestate``; each key occurs once.
    """

    traceparent: bytes
    tracestate: bytes
    state: tuple[tuple[str, str], ...]

    @property
    def headers(self) -> list[tuple[str, bytes | None]]:
        """The headers that carry this trace context."""
        parent: list[tuple[str, bytes | None]] = [(PARENT, self.traceparent)]
        return [*parent, (STATE, self.tracestate)] if self.tracestate else parent


def trace_context_of(headers: Headers) -> TraceContext | None:
    """Return the trace context of a message, or None when its traceparent is absent, doubled or invalid."""
    parents, states = [], []
    for name, value in headers:
        lower = name.lower()
        if lower == PARENT:
            parents.append(value or b"")
        elif lower == STATE and value:
            states.append(value)
    if len(parents) != 1 or not _PARENT.fullmatch(parents[0]):
        return None
    tracestate = b",".join(states)
    if not tracestate or not (members := _members(tracestate)):
        return TraceContext(parents[0], b"", ())
    return TraceContext(parents[0], tracestate, tuple(members.items()))


def _members(tracestate: bytes) -> dict[str, str]:
    """Return the members of a tracestate, none if it is invalid. An empty member is allowed and says nothing."""
    if len(tracestate) > STATE_BYTES_MAX:
        return {}
    given = [member for one in tracestate.split(b",") if (member := one.strip(b" \t"))]
    found = [_MEMBER.fullmatch(member) for member in given]
    members = {one["key"].decode(): one["value"].decode() for one in found if one is not None}
    return members if len(members) == len(given) <= STATE_MEMBERS_MAX else {}
