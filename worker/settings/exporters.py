"""Who gets the telemetry: the part of OpenTelemetry's own variables that decides it. The SDK reads the others.

They are read from the environment alone, as the SDK does, and not from ``.env`` or the secrets.
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
        otlp_metrics: Pushed over OTLP.
        otlp_traces: Pushed over OTLP.
        prometheus: Metrics are there to be scraped, on the health port.
    """

    otlp_metrics: bool = False
    otlp_traces: bool = False
    prometheus: bool = False


class ExporterFault(NamedTuple):
    """A variable that can't be what it is, and what completes "wants ..."."""

    variable: str
    wants: str


def exporters_of(environ: Mapping[str, str], *, health_port: int) -> tuple[Exporters, list[ExporterFault]]:
    """What the environment asks for, and all that is wrong with it.

    An exporter that is not named is ``otlp`` where there is an endpoint for it, and ``none`` otherwise:
    OpenTelemetry's default, ``otlp`` to localhost, would have every trial complain of a collector that isn't there.

    Args:
        environ: The environment.
        health_port: 0: there is none.
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
        faults.append(ExporterFault(PORT, f"a port to be scraped at, beside {METRICS}=prometheus"))
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
