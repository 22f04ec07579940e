"""A local OTLP receiver: takes what the worker exports over http/protobuf, and keeps it."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

if TYPE_CHECKING:
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
    from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Receiver:
    """What has arrived so far.

    Attributes:
        spans: The spans, in the order of arrival.
        metrics: The last metric of each name.
        resource: The resource of the last sender.
        schema_urls: The schema URLs of all scopes.
        endpoint: The value for ``OTEL_EXPORTER_OTLP_ENDPOINT``.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.metrics: dict[str, Metric] = {}
        self.resource: dict[str, Any] = {}
        self.schema_urls: set[str] = set()
        self.endpoint = ""

    def take(self, path: str, body: bytes) -> None:
        """One export."""
        if path == "/v1/traces":
            for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resource = attributes_of(sent.resource.attributes)
                for scope in sent.scope_spans:
                    self.schema_urls.add(scope.schema_url)
                    self.spans += scope.spans
        elif path == "/v1/metrics":
            for metered in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.resource = attributes_of(metered.resource.attributes)
                for group in metered.scope_metrics:
                    self.schema_urls.add(group.schema_url)
                    self.metrics |= {metric.name: metric for metric in group.metrics}


def attributes_of(pairs: Any) -> dict[str, Any]:
    """Attributes of a span, a point or a resource."""
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    kind = pair.value.WhichOneof("value")
    return None if kind is None else getattr(pair.value, kind)


@contextmanager
def otlp_receiver() -> Iterator[Receiver]:
    """Receives for as long as the block lasts."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.take(self.path, gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield receiver
        server.shutdown()
