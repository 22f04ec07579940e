"""The headers of verdicts and alerts. Pure.

An output has this worker's headers, and only those of the input's headers that are allowed. The input's ``ce_*``,
``content-encoding``, ``__TypeId__`` or schema ids would make false claims about the output.
"""

from collections.abc import Collection
from typing import Literal

from worker.moderation.trace_context import trace_context_of
from worker.records import Headers, PreparedRecord

CONTENT_TYPE = ("content-type", b"application/json")


def output_headers(input_headers: Headers, copied_names: Collection[str]) -> Headers:
    """Return the headers of a verdict or an alert: copied headers, the trace context and the content type.

    Args:
        input_headers: The input's headers.
        copied_names: Names of input headers to copy, case-sensitive. None of them is a name that this worker
            writes.
    """
    copied = [(name, value) for name, value in input_headers if name in copied_names] if copied_names else []
    context = trace_context_of(input_headers)
    return [*copied, *(context.headers if context else ()), CONTENT_TYPE]


def cloud_event(
    record: PreparedRecord, kind: Literal["verdict", "alert"], id_: str, judged_at: str
) -> list[tuple[str, bytes | None]]:
    """Return the attributes of a CloudEvent in binary mode; its ``datacontenttype`` is the content-type header.

    Source: CloudEvents 1.0.2, "Kafka Protocol Binding", section 3.2.
    """
    topic, number = record.source.partition
    subject = f"{topic}:{number}:{record.source.offset}"
    attributes = {
        "specversion": "1.0",
        "id": id_,
        "source": f"urn:moderation-worker:{topic}",
        "type": f"moderation.{kind}.v1",
        "time": judged_at,
        "subject": subject if record.item is None else f"{subject}#{record.item}",
    }
    return [(f"ce_{name}", value.encode()) for name, value in attributes.items()]


def size_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return the size of a record as ``WORKER_KAFKA__RECORD_BYTES_MAX`` bounds it."""
    return len(key or b"") + len(value or b"") + sum(len(n.encode()) + len(v or b"") for n, v in headers)
