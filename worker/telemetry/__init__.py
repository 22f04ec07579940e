"""What is measured and traced, and who gets it: the only place that knows OpenTelemetry.

``names`` has every name, ``measuring`` the metrics, ``tracing`` the spans, ``around`` what stands around the
worker's parts, ``providers`` the SDK.
"""

from worker.telemetry.around import Telemetry
from worker.telemetry.measuring import Where
from worker.telemetry.providers import Opened, TelemetryOptions, open_telemetry

__all__ = ["Opened", "Telemetry", "TelemetryOptions", "Where", "open_telemetry"]
