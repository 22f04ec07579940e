"""The headers of verdicts and alerts: ours, and of the input's only those that are allowed. Pure.

What is not on the list stays behind. The input's ``ce_*``, ``content-encoding``, ``__TypeId__`` or schema ids would
make false claims about our record.
"""

from collections.abc import Collection
from typing import Literal

from worker.moderation.trace_context import trace_context_of
from worker.records import ConsumedRecord, Headers

CONTENT_TYPE = ("content-type", b"application/json")
OURS: Headers = (CONTENT_TYPE,)


def passed_on(headers: Headers, names: Collection[str]) -> Headers:
    """Return the headers of a verdict or an alert whose message has these headers.

    Args:
        headers: The input's.
        names: Of the input's headers to copy, exactly as they are written; none is one that the worker writes.
    """
    copied = [(name, value) for name, value in headers if name in names] if names else []
    context = trace_context_of(headers)
    return [*copied, *(context.headers if context else ()), CONTENT_TYPE]


def cloud_event(
    source: ConsumedRecord, kind: Literal["verdict", "alert"], id_: str, judged_at: str
) -> list[tuple[str, bytes | None]]:
    """Return the attributes of a CloudEvent in binary mode; its ``datacontenttype`` is the content-type.

    Source: CloudEvents 1.0.2, "Kafka Protocol Binding", section 3.2.
    """
    topic, number = source.partition
    attributes = {
        "specversion": "1.0",
        "id": id_,
        "source": f"urn:moderation-worker:{topic}",
        "type": f"moderation.{kind}.v1",
        "time": judged_at,
        "subject": f"{topic}:{number}:{source.offset}",
    }
    return [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
