"""The traces: a span for each transaction, with links to the messages' own traces and with child spans.

A consumer of the verdicts sees transactions, and only a transaction covers all work for a message: it has several
prepared chunks and several scored batches. So the work of the preparer and the device is kept as a pending span
when it ends. The span is made when the transaction with its first message is published.

The messages' contexts are links, not parents: a batch has many. Nothing is written into an input message. The valid
trace context of the input is copied to the outputs, so a reader of a verdict finds the trace of its message.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from opentelemetry import trace
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer, TraceState

from worker.moderation.trace_context import trace_context_of
from worker.records import ConsumedRecord, Headers
from worker.telemetry import names
from worker.telemetry.metrics import MessagingAttributes

NOTED_MAX = 256
"""Largest number of pending spans. A rewind leaves some behind; newer ones push them out."""


class PendingSpan(NamedTuple):
    """Work for a transaction that ended before the transaction began.

    Attributes:
        name: ``prepare`` or ``score``.
        polled_ns: When its first message was polled, by the monotonic clock.
        began_ns: When the work began, by the monotonic clock.
        ended_ns: When the work ended, by the monotonic clock.
        messages: Number of messages.
        tokens: Number of tokens; None: not counted.
    """

    name: str
    polled_ns: int
    began_ns: int
    ended_ns: int
    messages: int
    tokens: int | None


class Tracing:
    """Makes the spans.

    Args:
        tracer: Starts the spans.
        messaging: Names and attributes of the spans.
        links_max: Largest number of links of a span: above it the SDK would drop the earliest links.
    """

    def __init__(self, tracer: Tracer, messaging: MessagingAttributes, links_max: int) -> None:
        self._tracer = tracer
        self._links_max = links_max
        self._parts: deque[PendingSpan] = deque(maxlen=NOTED_MAX)
        topics = messaging.input_topics
        self._name = f"process {topics[0]}" if len(topics) == 1 else "process"
        self._attributes = {
            names.SYSTEM: "kafka",
            names.OPERATION: "process",
            names.OPERATION_TYPE: "process",
            names.GROUP: messaging.group_id,
            **({names.DESTINATION: topics[0]} if len(topics) == 1 else {}),
        }

    def add_pending(self, part: PendingSpan) -> None:
        """Keep the work for its transaction; called on any thread."""
        self._parts.append(part)

    @contextmanager
    def transaction(self, records: Sequence[ConsumedRecord]) -> Iterator[Span]:
        """Open the span of a transaction, which begins with the poll of its oldest message.

        The span is the current one inside the block, for log lines and calls.
        """
        epoch_ns = time.time_ns() - time.monotonic_ns()
        first_ns, last_ns = records[0].polled_ns, records[-1].polled_ns
        span = self._tracer.start_span(
            self._name,
            context=trace.set_span_in_context(trace.INVALID_SPAN),
            kind=SpanKind.CONSUMER,
            attributes=self._attributes | {names.BATCH_COUNT: len(records)},
            start_time=first_ns + epoch_ns,
        )
        parts = self._taken(last_ns)
        if span.is_recording():
            self._link(span, records)
            for part in parts:
                if part.polled_ns >= first_ns:
                    self._make(span, part, epoch_ns)
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            yield span

    @contextmanager
    def call(self, operation: str, kind: str | None) -> Iterator[Span | None]:
        """Open the span of a call to Kafka inside a transaction; the first ``init_transactions`` has none."""
        if not trace.get_current_span().is_recording():
            yield None
            return
        attributes = {names.SYSTEM: "kafka", names.OPERATION: operation}
        if kind is not None:
            attributes[names.OPERATION_TYPE] = kind
        with self._tracer.start_as_current_span(
            operation,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    def _taken(self, until_ns: int) -> list[PendingSpan]:
        """Remove and return the pending spans whose first message was polled by then; keep the later ones."""
        parts: list[PendingSpan] = []
        for _ in range(len(self._parts)):  # other threads append at the same time
            part = self._parts.popleft()
            (parts if part.polled_ns <= until_ns else self._parts).append(part)
        return parts

    def _make(self, parent: Span, part: PendingSpan, epoch_ns: int) -> None:
        attributes = {names.BATCH_COUNT: part.messages}
        if part.tokens is not None:
            attributes[names.TOKENS] = part.tokens
        span = self._tracer.start_span(
            part.name,
            context=trace.set_span_in_context(parent),
            attributes=attributes,
            start_time=part.began_ns + epoch_ns,
        )
        span.end(part.ended_ns + epoch_ns)

    def _link(self, span: Span, records: Sequence[ConsumedRecord]) -> None:
        """Link to the first messages with a context, up to the limit; an attribute counts the others."""
        contexts = [context for record in records if record.headers and (context := context_of(record.headers))]
        for context in contexts[: self._links_max]:
            span.add_link(context)
        if len(contexts) > self._links_max:
            span.set_attribute(names.LINKS_DROPPED, len(contexts) - self._links_max)


def context_of(headers: Headers) -> SpanContext | None:
    """Return the trace context of a message, or None if it is not valid.

    OpenTelemetry's propagator is not used: it logs malformed headers unchanged.
    """
    found = trace_context_of(headers)
    if found is None:
        return None
    _, trace_id, span_id, flags = found.traceparent.split(b"-")[:4]
    return SpanContext(
        trace_id=int(trace_id, 16),
        span_id=int(span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(flags, 16)),
        trace_state=TraceState(found.state),
    )


def failed(span: Span, error: str) -> None:
    """Mark a span as failed."""
    span.set_attribute(names.ERROR, error)
    span.set_status(Status(StatusCode.ERROR))


def with_trace_ids(record: logging.LogRecord) -> bool:
    """Add the ids of the current span to a log line; a logging filter that lets every line pass."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        record.trace_id = trace.format_trace_id(context.trace_id)
        record.span_id = trace.format_span_id(context.span_id)
    return True
