"""Metrics and traces: the only package that knows OpenTelemetry.

``names`` lists every name, ``metrics`` fills the instruments, ``tracing`` makes the spans, ``instrumentation``
wraps the worker's parts, ``exporters`` sets the SDK up. Read ``names`` first.
"""

from worker.telemetry.exporters import RunningTelemetry, TelemetryOptions, open_telemetry
from worker.telemetry.instrumentation import Telemetry
from worker.telemetry.metrics import MessagingAttributes

__all__ = ["MessagingAttributes", "RunningTelemetry", "Telemetry", "TelemetryOptions", "open_telemetry"]
