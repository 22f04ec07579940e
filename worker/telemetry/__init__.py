"""What is measured and traced, and who gets it: the only place that knows OpenTelemetry.

``names`` has every name, ``measuring`` the metrics, ``tracing`` the spans, ``around`` what stands around the
worker's parts, ``providers`` the SDK.
"""

from worker.telemetry.exporters import RunningTelemetry, TelemetryOptions, open_telemetry
from worker.telemetry.instrumentation import Telemetry
from worker.telemetry.metrics import MessagingAttributes

__all__ = ["MessagingAttributes", "RunningTelemetry", "Telemetry", "TelemetryOptions", "open_telemetry"]
