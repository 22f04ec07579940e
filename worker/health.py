"""One small HTTP port: is it alive, is it ready, and the metrics.

No answer waits for a broker: a broker that is away is no reason to restart every worker.
"""

from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, has_dualstack_ipv6
from threading import Thread
from typing import NamedTuple

from worker.errors import ConfigurationError
from worker.status import Phase, WorkerStatus

REQUEST_S_MAX = 5.0

Scrape = Callable[[str], tuple[bytes, str]]
"""What is accepted to the metrics, and the type that they have."""


class HealthResponse(NamedTuple):
    """To one question."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


def livez(status: WorkerStatus, now_ms: int, bound_ms: int) -> HealthResponse:
    """Whether the loop has gone round within the bound; while the model is loaded, and while it drains: always."""
    still_ms = now_ms - status.last_iteration_ms
    if status.phase is Phase.RUNNING and still_ms > bound_ms:
        return _said(HTTPStatus.SERVICE_UNAVAILABLE, f"the loop has stood still for {still_ms} ms")
    return _said(HTTPStatus.OK, status.phase.value)


def readyz(status: WorkerStatus) -> HealthResponse:
    """Whether the model is warm and the group has us, with partitions or waiting for its turn.

    Partitions in quarantine are named, and do not make it unready: a restart would read them again.
    """
    if status.phase is not Phase.RUNNING:
        return _said(HTTPStatus.SERVICE_UNAVAILABLE, status.phase.value)
    if not status.snapshot.is_member:
        return _said(HTTPStatus.SERVICE_UNAVAILABLE, "not a member of the consumer group yet")
    lines = [f"{status.snapshot.partitions} partitions"]
    if status.snapshot.quarantined:
        names = ", ".join(map(str, sorted(status.snapshot.quarantined)))
        lines.append(f"{len(status.snapshot.quarantined)} in quarantine, too many dead letters: {names}")
    return _said(HTTPStatus.OK, "\n".join(lines))


def serve(
    port: int, status: WorkerStatus, *, clock: Callable[[], int], bound_ms: int, scrape: Scrape | None
) -> int:
    """Answers from a thread of its own until the process ends.

    Args:
        port: 0: any that is free.
        status: What the owner says.
        clock: In milliseconds.
        bound_ms: How long the loop may take to go round.
        scrape: Gives the metrics; None: nobody wants them here.

    Returns:
        The port.

    Raises:
        ConfigurationError: The port can't be had.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_S_MAX

        def do_GET(self) -> None:
            answer = self._answer()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_HEAD = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None:
            """Probes come every few seconds: no line for each."""

        def _answer(self) -> HealthResponse:
            match self.path.partition("?")[0]:
                case "/livez":
                    return livez(status, clock(), bound_ms)
                case "/readyz":
                    return readyz(status)
                case "/metrics" if scrape is not None:
                    body, content_type = scrape(self.headers.get("Accept", ""))
                    return HealthResponse(HTTPStatus.OK, body, content_type)
                case "/metrics":
                    return _said(HTTPStatus.NOT_FOUND, "no metrics here: set OTEL_METRICS_EXPORTER=prometheus")
                case _:
                    return _said(HTTPStatus.NOT_FOUND, "here are /livez, /readyz and /metrics")

    try:
        server = _Server(("", port), Handler)
    except OSError as error:
        raise ConfigurationError(
            f"WORKER_HEALTH__PORT: got {port}; wants a port that is free and allowed ({error.strerror})"
        ) from error
    Thread(target=server.serve_forever, name="health", daemon=True).start()
    return int(server.server_address[1])


class _Server(ThreadingHTTPServer):
    """On all addresses, of both kinds where there are both."""

    address_family = AF_INET6 if has_dualstack_ipv6() else AF_INET
    daemon_threads = True

    def server_bind(self) -> None:
        if self.address_family == AF_INET6:
            self.socket.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0)
        super().server_bind()


def _said(status: HTTPStatus, text: str) -> HealthResponse:
    return HealthResponse(status, f"{text}\n".encode())
