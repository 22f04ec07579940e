"""Serve ``/livez``, ``/readyz`` and ``/metrics`` on one HTTP port.

No response waits for a broker: an unreachable broker is not a reason to restart every worker.
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
"""Takes the request's ``Accept`` header; returns the metrics and their content type."""


class HealthResponse(NamedTuple):
    """What one request gets."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


def livez(status: WorkerStatus, now_ms: int, bound_ms: int) -> HealthResponse:
    """Return 503 if the loop's last turn ended longer ago than the bound.

    The response is always 200 while the model is loaded and while the worker drains.
    """
    still_ms = now_ms - status.last_iteration_ms
    if status.phase is Phase.RUNNING and still_ms > bound_ms:
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, f"the loop has not finished a turn for {still_ms} ms")
    return _text(HTTPStatus.OK, status.phase.value)


def readyz(status: WorkerStatus) -> HealthResponse:
    """Return 200 if the model is warm and this worker is a member of the group, with or without partitions.

    The response names the partitions in quarantine. They do not make the worker unready: a restart would read them
    again.
    """
    if status.phase is not Phase.RUNNING:
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, status.phase.value)
    session = status.snapshot.session
    if not session.is_member:
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, "not a member of the consumer group yet")
    lines = [f"{len(session.assigned)} partitions"]
    if session.quarantined:
        names = ", ".join(map(str, sorted(session.quarantined)))
        lines.append(f"{len(session.quarantined)} in quarantine, too many dead letters: {names}")
    return _text(HTTPStatus.OK, "\n".join(lines))


def serve(
    port: int, status: WorkerStatus, *, clock: Callable[[], int], bound_ms: int, scrape: Scrape | None
) -> int:
    """Start a thread that answers until the process ends.

    Args:
        port: The port to listen on; 0: any free port.
        status: The state that the owner thread writes.
        clock: Returns monotonic milliseconds.
        bound_ms: Longest turn of the loop.
        scrape: Returns the metrics; None: Prometheus is off.

    Returns:
        The port that the server listens on.

    Raises:
        ConfigurationError: The port is taken or not allowed.
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
            """Log nothing: probes come every few seconds."""

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
                    return _text(
                        HTTPStatus.NOT_FOUND, "Prometheus metrics are off: set OTEL_METRICS_EXPORTER=prometheus"
                    )
                case _:
                    return _text(HTTPStatus.NOT_FOUND, "unknown path: use /livez, /readyz or /metrics")

    try:
        server = _Server(("", port), Handler)
    except OSError as error:
        raise ConfigurationError(
            f"WORKER_HEALTH__PORT: got {port}; wants a port that is free and allowed ({error.strerror})"
        ) from error
    Thread(target=server.serve_forever, name="health", daemon=True).start()
    return int(server.server_address[1])


class _Server(ThreadingHTTPServer):
    """Listens on all addresses, IPv4 and IPv6 where the machine has both."""

    address_family = AF_INET6 if has_dualstack_ipv6() else AF_INET
    daemon_threads = True

    def server_bind(self) -> None:
        if self.address_family == AF_INET6:
            self.socket.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0)
        super().server_bind()


def _text(status: HTTPStatus, text: str) -> HealthResponse:
    return HealthResponse(status, f"{text}\n".encode())
