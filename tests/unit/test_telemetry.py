"""Names, and what follows from numbers; what a worker really exports is in contract/test_telemetry.py."""

import io
import logging
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv._incubating.metrics import messaging_metrics
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.semconv.schemas import Schemas

from worker.kafka.transaction import CALLS
from worker.records import ConsumedRecord, Partition
from worker.settings.exporters import Exporters, exporters_of
from worker.telemetry import names
from worker.telemetry.metrics import OBSERVED, OPERATIONS, oldest
from worker.telemetry.names import METRICS, InstrumentKind, Metric
from worker.telemetry.tracing import context_of

PAGE = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text()
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def constants(module: object) -> set[str]:
    return {value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}


def test_the_conventions_names_are_those_of_the_pinned_version() -> None:
    assert Schemas.V1_44_0.value == names.SCHEMA_URL
    theirs = [metric.name for metric in METRICS if metric.name.startswith("messaging.")]
    assert set(theirs) <= constants(messaging_metrics)
    attributes = {attribute for metric in METRICS for attribute in metric.attributes}
    known = constants(messaging_attributes) | constants(error_attributes)
    assert {name for name in attributes if not name.startswith("moderation.")} <= known


def test_no_two_metrics_share_a_name_and_none_tells_of_a_channel_or_a_user() -> None:
    assert len({metric.prometheus for metric in METRICS}) == len(METRICS)
    attributes = {attribute for metric in METRICS for attribute in metric.attributes}
    assert not [name for name in attributes if re.search("channel|user|message.id|key|text", name)]


def test_what_is_observed_has_a_reading_and_nothing_else_has() -> None:
    observed = {
        metric
        for metric in METRICS
        if metric.kind in {InstrumentKind.OBSERVED_COUNTER, InstrumentKind.OBSERVED_GAUGE}
    }
    assert observed == OBSERVED.keys()


def test_the_operations_are_calls_of_the_transaction() -> None:
    assert OPERATIONS.keys() <= set(CALLS.values())


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_documented_with_its_names_its_unit_and_its_sentence(metric: Metric) -> None:
    attributes = ", ".join(f"`{name}`" for name in metric.attributes)
    row = f"| `{metric.name}`<br>`{metric.prometheus}` | {metric.unit} | {metric.about} | {attributes} |"
    assert row in PAGE


def test_the_oldest_of_each_64_stands_for_them() -> None:
    def fetched(timestamp_ms: int | None) -> ConsumedRecord:
        return ConsumedRecord(
            partition=Partition("messages", 0),
            assignment_epoch=1,
            previous_next_offset=0,
            offset=0,
            timestamp_ms=timestamp_ms,
            key=None,
            value=None,
            headers=(),
        )

    times = [*range(1000, 1064), *range(2000, 2063)]
    assert oldest([fetched(time) for time in times]) == [1000, 2000]
    assert oldest([fetched(None), fetched(7), fetched(None)]) == [7]
    assert oldest([fetched(None)]) == []


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        ([("traceparent", f"00-{TRACE}-{SPAN}-01".encode())], TRACE),
        ([("other", b"1"), ("TraceParent", f"00-{TRACE}-{SPAN}-00".encode()), ("tracestate", b"a=1")], TRACE),
        ([("traceparent", f"00-{TRACE}-{SPAN}-01".encode()), ("tracestate", b"a=1\x1b\nforged")], TRACE),
        ([("traceparent", f"00-{TRACE}-{SPAN}-01".encode())] * 2, None),
        ([("traceparent", f"ff-{TRACE}-{SPAN}-01".encode())], None),
        ([("traceparent", b"00-\xff-01")], None),
        ([("traceparent", None)], None),
        ([("traceparent", f"00-{'0' * 32}-{SPAN}-01".encode())], None),
        ([("tracestate", b"a=1")], None),
    ],
)
def test_the_context_of_a_message_is_in_its_w3c_headers(
    headers: list[tuple[str, bytes | None]], trace: str | None
) -> None:
    context = context_of(headers)
    assert (None if context is None else f"{context.trace_id:032x}") == trace


@given(
    state=st.binary(max_size=600)
    | st.from_regex(r"([a-z0-9][a-z0-9_@*/-]{0,9}=[!-~]{0,9},? ?){0,40}", fullmatch=True).map(str.encode)
)
def test_opentelemetry_is_given_no_tracestate_that_it_would_complain_of(state: bytes) -> None:
    parent = f"00-{TRACE}-{SPAN}-01".encode()
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger("opentelemetry").addHandler(handler)
    try:
        context = context_of([("traceparent", parent), ("tracestate", state)])
    finally:
        logging.getLogger("opentelemetry").removeHandler(handler)
    assert said.getvalue() == ""
    assert context is not None
    split = [one.strip(b" \t").partition(b"=") for one in state.split(b",")]
    members = {key: value for key, _, value in split if key}
    assert {key.encode(): value.encode() for key, value in context.trace_state.items()} in ({}, members)


ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, Exporters()),
        ({"OTEL_METRICS_EXPORTER": "none", ENDPOINT: "http://collector:4318"}, Exporters(otlp_traces=True)),
        ({ENDPOINT: "http://collector:4318"}, Exporters(otlp_metrics=True, otlp_traces=True)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, Exporters(otlp_traces=True)),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, Exporters(prometheus=True)),
        ({"OTEL_METRICS_EXPORTER": "otlp, prometheus"}, Exporters(otlp_metrics=True, prometheus=True)),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, Exporters(otlp_traces=True)),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "True"}, Exporters()),
        ({"OTEL_METRICS_EXPORTER": "", "OTEL_TRACES_EXPORTER": ""}, Exporters()),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, Exporters()),  # nobody exports
    ],
)
def test_the_exporters_are_those_of_opentelemetrys_variables(environ: dict[str, str], wanted: Exporters) -> None:
    assert exporters_of(environ, health_port=8080) == (wanted, [])


@pytest.mark.parametrize(
    ("environ", "variable", "wants"),
    [
        ({"OTEL_METRICS_EXPORTER": "console"}, "OTEL_METRICS_EXPORTER", "otlp, prometheus or none"),
        ({"OTEL_METRICS_EXPORTER": "otlp,none"}, "OTEL_METRICS_EXPORTER", "otlp, prometheus or none"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER", "otlp or none"),
        (
            {ENDPOINT: "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "http/protobuf (a collector takes it at port 4318), or OTEL_METRICS_EXPORTER (not set) without otlp",
        ),
        (
            {"OTEL_METRICS_EXPORTER": "prometheus"},
            "WORKER_HEALTH__PORT",
            "a port, because Prometheus scrapes it with ",
        ),
    ],
)
def test_an_exporter_that_can_not_be_is_named_with_what_is_wanted(
    environ: dict[str, str], variable: str, wants: str
) -> None:
    _, amiss = exporters_of(environ, health_port=0)
    assert [one.variable for one in amiss if one.wants.startswith(wants)] == [variable]
