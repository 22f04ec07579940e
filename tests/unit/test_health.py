"""The health port: each answer, over HTTP."""

import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from worker.errors import ConfigurationError
from worker.health import serve
from worker.records import Partition
from worker.status import Phase, SessionStatus, StatusSnapshot, WorkerStatus

BOUND_MS = 30_000


@dataclass(slots=True)
class Port:
    """A port that is served, and the parts that answer."""

    number: int
    status: WorkerStatus
    now_ms: int = 0

    def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        asked = urllib.request.Request(f"http://localhost:{self.number}{path}", method=method)
        try:
            with urllib.request.urlopen(asked) as answer:  # noqa: S310 - our own
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def opened() -> Callable[..., Port]:
    def opens(scrape: Callable[[str], tuple[bytes, str]] | None = None) -> Port:
        port = Port(0, WorkerStatus())
        port.number = serve(0, port.status, clock=lambda: port.now_ms, bound_ms=BOUND_MS, scrape=scrape)
        return port

    return opens


def test_it_is_alive_while_it_loads_and_while_the_loop_goes_round(opened: Callable[..., Port]) -> None:
    port = opened()
    port.now_ms = 10 * BOUND_MS
    assert port.ask("/livez") == (200, "loading the model\n")
    port.status.phase, port.status.last_iteration_ms = Phase.RUNNING, port.now_ms - BOUND_MS
    assert port.ask("/livez") == (200, "running\n")
    port.now_ms += 1
    assert port.ask("/livez") == (503, f"the loop has not finished a turn for {BOUND_MS + 1} ms\n")
    port.status.phase = Phase.STOPPING
    assert port.ask("/livez")[0] == 200  # a drain has a bound of its own


def test_it_is_ready_with_a_warm_model_and_a_place_in_the_group(opened: Callable[..., Port]) -> None:
    port = opened()
    assert port.ask("/readyz") == (503, "loading the model\n")
    port.status.phase = Phase.RUNNING
    assert port.ask("/readyz") == (503, "not a member of the consumer group yet\n")
    port.status.snapshot = StatusSnapshot(session=SessionStatus(is_member=True))
    assert port.ask("/readyz") == (200, "0 partitions\n")  # it waits for its turn
    port.status.phase = Phase.STOPPING
    assert port.ask("/readyz")[0] == 503


def test_partitions_in_quarantine_are_named_and_do_not_make_it_unready(opened: Callable[..., Port]) -> None:
    port = opened()
    port.status.phase = Phase.RUNNING
    bad = [Partition("chat", 7), Partition("chat", 1)]
    session = SessionStatus(is_member=True, assigned=[*bad, Partition("chat", 0)], quarantined=bad)
    port.status.snapshot = StatusSnapshot(session=session)
    assert port.ask("/readyz") == (
        200,
        "3 partitions\n2 in quarantine, too many dead letters: chat[1], chat[7]\n",
    )


def test_the_metrics_are_there_when_they_are_wanted(opened: Callable[..., Port]) -> None:
    assert opened().ask("/metrics") == (404, "Prometheus metrics are off: set OTEL_METRICS_EXPORTER=prometheus\n")
    assert opened(lambda _: (b"up 1\n", "text/plain")).ask("/metrics?name=up") == (200, "up 1\n")


def test_other_paths_are_told_what_there_is_and_a_head_has_no_body(opened: Callable[..., Port]) -> None:
    port = opened()
    assert port.ask("/") == (404, "unknown path: use /livez, /readyz or /metrics\n")
    assert port.ask("/livez", "HEAD") == (200, "")


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(
            ConfigurationError, match=f"WORKER_HEALTH__PORT: got {number}; wants a port that is free"
        ):
            serve(number, WorkerStatus(), clock=lambda: 0, bound_ms=1, scrape=None)
