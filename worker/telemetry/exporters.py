"""OpenTelemetry's SDK, set up as its own variables want it.

No global provider is set, and no library is instrumented: confluent-kafka's instrumentation puts a proxy in the
producer's place that does not know transactions.
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
    """What telemetry needs to know.

    Attributes:
        otlp_metrics: Whether metrics are pushed over OTLP.
        otlp_traces: Whether traces are.
        prometheus: Whether metrics are scraped.
        where: What the points say of where they come from.
        version: The worker's.
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
    """Telemetry that runs.

    Attributes:
        telemetry: Goes around the parts.
        scrape: Gives the metrics in one of Prometheus' formats; None: nobody scrapes.
        close: Sends what is left, for two seconds at most.
    """

    telemetry: Telemetry
    scrape: Scrape | None
    close: Callable[[], None]


def open_telemetry(options: TelemetryOptions, snapshot: Callable[[], StatusSnapshot]) -> RunningTelemetry:
    """Starts the exporters.

    Args:
        options: What is wanted.
        snapshot: What the owner said last.
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
    """Who we are; what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say wins."""
    ours = {
        "service.name": "moderation-worker",
        "service.version": options.version,
        "service.instance.id": options.instance_id,
    }
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes}, SCHEMA_URL)


def _readers(options: TelemetryOptions, registry: CollectorRegistry) -> list[MetricReader]:
    readers: list[MetricReader] = []
    if options.otlp_metrics:
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    if options.prometheus:
        ProcessCollector(registry=registry)
        # The scope's labels would begin new series with each version of the worker.
        readers.append(PrometheusMetricReader(scope_info_enabled=False, registry=registry))
    return readers


def _scrape(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _close(closers: Sequence[Callable[[], object]]) -> None:
    """Gives the exporters their time in a thread that nobody waits for longer: a collector may be away."""

    def close() -> None:
        for one in closers:
            one()

    thread = Thread(target=close, name="flush", daemon=True)
    thread.start()
    thread.join(FLUSH_S_MAX)
