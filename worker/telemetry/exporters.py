"""Set up OpenTelemetry's SDK by OpenTelemetry's own environment variables.

No global provider is set, and no library is instrumented: the instrumentation of confluent-kafka replaces the
producer by a proxy that does not support transactions.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Thread

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from worker.status import StatusSnapshot
from worker.telemetry.instrumentation import Telemetry
from worker.telemetry.metrics import Instruments, MessagingAttributes
from worker.telemetry.names import SCHEMA_URL, SCOPE
from worker.telemetry.tracing import Tracing, with_trace_ids

FLUSH_S_MAX = 2.0

Scrape = Callable[[str], tuple[bytes, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryOptions:
    """The options of telemetry.

    Attributes:
        otlp_metrics: Whether metrics are pushed over OTLP.
        otlp_traces: Whether traces are pushed over OTLP.
        prometheus: Whether metrics are scraped.
        messaging: Attributes that say where the points come from.
        version: Version of the worker.
        instance_id: Unique per live process: ``service.instance.id``, unless the resource names another.
    """

    otlp_metrics: bool
    otlp_traces: bool
    prometheus: bool
    messaging: MessagingAttributes
    version: str
    instance_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTelemetry:
    """Telemetry whose exporters run.

    Attributes:
        telemetry: Wraps the worker's parts.
        scrape: Returns the metrics in one of Prometheus' formats; None: Prometheus is off.
        close: Sends the remaining points and spans, within two seconds.
    """

    telemetry: Telemetry
    scrape: Scrape | None
    close: Callable[[], None]


def open_telemetry(options: TelemetryOptions, snapshot: Callable[[], StatusSnapshot]) -> RunningTelemetry:
    """Start the exporters.

    Args:
        options: What to export, and under which names.
        snapshot: Returns the latest snapshot of the worker.
    """
    resource = _resource(options)
    registry = CollectorRegistry()
    closers: list[Callable[[], object]] = []
    meter = NoOpMeterProvider().get_meter(SCOPE)
    if readers := _readers(options, registry):
        metering = MeterProvider(readers, resource, shutdown_on_exit=False)
        meter = metering.get_meter(SCOPE, options.version, SCHEMA_URL)
        closers.append(metering.shutdown)
    tracing = None
    if options.otlp_traces:
        limits = SpanLimits()
        provider = TracerProvider(resource=resource, span_limits=limits, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        tracer = provider.get_tracer(SCOPE, options.version, SCHEMA_URL)
        tracing = Tracing(tracer, options.messaging, sys.maxsize if limits.max_links is None else limits.max_links)
        closers.append(provider.shutdown)
        for handler in logging.getLogger().handlers:
            handler.addFilter(with_trace_ids)
    return RunningTelemetry(
        telemetry=Telemetry(Instruments(meter, options.messaging, snapshot), tracing),
        scrape=partial(_scrape, registry) if options.prometheus else None,
        close=partial(_close, closers),
    )


def _resource(options: TelemetryOptions) -> Resource:
    """Return the attributes of this process; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win."""
    defaults = {
        "service.name": "moderation-worker",
        "service.version": options.version,
        "service.instance.id": options.instance_id,
    }
    return Resource.create({**defaults, **OTELResourceDetector().detect().attributes}, SCHEMA_URL)


def _readers(options: TelemetryOptions, registry: CollectorRegistry) -> list[MetricReader]:
    readers: list[MetricReader] = []
    if options.otlp_metrics:
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    if options.prometheus:
        ProcessCollector(registry=registry)
        # With the scope's labels, each version of the worker would begin new series.
        readers.append(PrometheusMetricReader(scope_info_enabled=False, registry=registry))
    return readers


def _scrape(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _close(closers: Sequence[Callable[[], object]]) -> None:
    """Flush the exporters in a thread, and wait for it two seconds at most: the collector may be away."""

    def close() -> None:
        for one in closers:
            one()

    thread = Thread(target=close, name="flush", daemon=True)
    thread.start()
    thread.join(FLUSH_S_MAX)
