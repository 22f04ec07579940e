"""Decide from OpenTelemetry's own variables where metrics and traces go. The SDK reads its other variables.

Like the SDK, this reads only the environment, not ``.env`` or the secrets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

PORT = "WORKER_HEALTH__PORT"
METRICS, TRACES = "OTEL_METRICS_EXPORTER", "OTEL_TRACES_EXPORTER"
ENDPOINT, PROTOCOL = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"
HTTP = "http/protobuf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporters:
    """Where metrics and traces go.

    Attributes:
        otlp_metrics: Whether metrics are pushed over OTLP.
        otlp_traces: Whether traces are pushed over OTLP.
        prometheus: Whether Prometheus can scrape metrics on the health port.
    """

    otlp_metrics: bool = False
    otlp_traces: bool = False
    prometheus: bool = False


class ExporterFault(NamedTuple):
    """A wrong variable, and the text that completes "wants ..."."""

    variable: str
    wants: str


def exporters_of(environ: Mapping[str, str], *, health_port: int) -> tuple[Exporters, list[ExporterFault]]:
    """Return the exporters that the environment names, and every fault in it.

    Without a named exporter, the default is ``otlp`` if an endpoint is set, and ``none`` otherwise. OpenTelemetry's
    own default is ``otlp`` to localhost: every trial without a collector would log errors.

    Args:
        environ: The environment.
        health_port: Port of the health server; 0: off.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Exporters(), []
    metrics, faults = _named(environ, METRICS, ("otlp", "prometheus", "none"))
    traces, more = _named(environ, TRACES, ("otlp", "none"))
    faults += more
    for variable, named in ((METRICS, metrics), (TRACES, traces)):
        own = PROTOCOL.replace("OTLP", f"OTLP_{variable.split('_')[1]}")
        protocol = own if environ.get(own) else PROTOCOL
        if "otlp" in named and environ.get(protocol, HTTP) not in {"", HTTP}:
            without = f"{variable} ({environ.get(variable) or 'not set'}) without otlp"
            faults.append(ExporterFault(protocol, f"{HTTP} (a collector takes it at port 4318), or {without}"))
    if "prometheus" in metrics and not health_port:
        faults.append(ExporterFault(PORT, f"a port, because Prometheus scrapes it with {METRICS}=prometheus"))
    exporters = Exporters(
        otlp_metrics="otlp" in metrics, otlp_traces="otlp" in traces, prometheus="prometheus" in metrics
    )
    return exporters, list(dict.fromkeys(faults))


def _named(
    environ: Mapping[str, str], variable: str, known: tuple[str, ...]
) -> tuple[set[str], list[ExporterFault]]:
    own = ENDPOINT.replace("OTLP", f"OTLP_{variable.split('_')[1]}")
    default = "otlp" if environ.get(own) or environ.get(ENDPOINT) else "none"
    named = {name.strip() for name in (environ.get(variable) or default).split(",")} - {""}
    wrong = bool(named - {*known}) or ("none" in named and len(named) > 1)
    return named, [ExporterFault(variable, f"{', '.join(known[:-1])} or none")] if wrong else []
