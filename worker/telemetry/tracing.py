"""The traces: a span for each transaction, with links to the messages' own traces, and its parts as children.

A transaction is what a consumer of the verdicts can see, and the only unit in which everything that was done for a
message meets: chunks are prepared, batches scored, and several of each go into one. So the spans of the preparer
and the device are noted as they end, and made when the transaction that has their first message is published.

The messages' contexts are links, and not parents: a batch has many. Nothing is written into a message: the valid
trace context of the input is passed on in the outputs, and a reader of a verdict finds its message's trace there.
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
"""Parts of transactions that are still to come; what a rewind left behind falls out at the other end."""


class PendingSpan(NamedTuple):
    """Something that was done for a transaction before it began.

    Attributes:
        name: ``prepare`` or ``score``.
        polled_ns: When its first message was polled.
        began_ns: By the monotonic clock.
        ended_ns: The same.
        messages: Of how many.
        tokens: Of how many; None: nobody counted.
    """

    name: str
    polled_ns: int
    began_ns: int
    ended_ns: int
    messages: int
    tokens: int | None


class Tracing:
    """What is traced.

    Args:
        tracer: The SDK's.
        where: For names and attributes.
        links_max: Of a span: the SDK's limit, above which it would drop the earliest.
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

    def note(self, part: PendingSpan) -> None:
        """Something is done; on any thread."""
        self._parts.append(part)

    @contextmanager
    def transaction(self, records: Sequence[ConsumedRecord]) -> Iterator[Span]:
        """The span of one, from the poll of its oldest message; current inside the block, for logs and calls."""
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
        """The span of a call to Kafka, within a transaction; the first ``init_transactions`` is in none."""
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
        """The parts whose first message was polled by then; later ones are left for later transactions."""
        parts: list[PendingSpan] = []
        for _ in range(len(self._parts)):  # others append meanwhile
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
        """Links to the first messages that have a context, as many as a span may have; it says how many not."""
        contexts = [context for record in records if record.headers and (context := context_of(record.headers))]
        for context in contexts[: self._links_max]:
            span.add_link(context)
        if len(contexts) > self._links_max:
            span.set_attribute(names.LINKS_DROPPED, len(contexts) - self._links_max)


def context_of(headers: Headers) -> SpanContext | None:
    """Return the trace context of a message, if it is valid.

    Not by OpenTelemetry's propagator: it writes what is malformed into the log, as it came.
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
    """Marks a span as failed."""
    span.set_attribute(names.ERROR, error)
    span.set_status(Status(StatusCode.ERROR))


def with_trace_ids(record: logging.LogRecord) -> bool:
    """Gives a log line the ids of the span that it was written in, if any: a filter that lets all pass."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        record.trace_id = trace.format_trace_id(context.trace_id)
        record.span_id = trace.format_span_id(context.span_id)
    return True
