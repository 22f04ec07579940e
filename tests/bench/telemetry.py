"""What telemetry costs: ``python -m tests.bench.telemetry LOG --tokenizer tokenizer.json``.

The worker of the pipeline's benchmark, with a null model, so that everything counts that is not the model: without
telemetry; with metrics that are scraped every second; and with metrics and every trace pushed over OTLP, each
second too. Beside the throughput stands the CPU time of the worker's process by message, which is less noisy.
"""

import argparse
import statistics
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.bench.pipeline import Contender, course_on_broker, texts_of
from tests.bench.side_by_side import medians, ratios, write
from tests.meanwhile import meanwhile
from worker.commands.broker.node import free_ports

EVERY_S = 1.0
OFF = "without telemetry"
PUSHED = {
    "OTEL_METRICS_EXPORTER": "otlp",
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
}


class _Sink(BaseHTTPRequestHandler):
    """Takes what is exported and forgets it."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def collector() -> Iterator[str]:
    """Where to export to."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Sink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextmanager
def scraped(port: int) -> Iterator[None]:
    """Asks for the metrics while the block lasts, whether a worker is there or not."""

    def scrape() -> None:
        with (
            suppress(OSError),  # there is no worker, or it has just ended
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer,
        ):
            answer.read()

    with meanwhile(scrape, every_s=EVERY_S):
        yield


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True, help="the model's tokenizer.json")
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    command = (sys.executable, "-m", "tests.bench.pipeline_ours", str(options.tokenizer.absolute()))
    [port] = free_ports(1)
    bare = {"WORKER_CACHE__BYTES_MAX": "0"}
    with course_on_broker() as course, collector() as endpoint, scraped(port):
        ways = {
            OFF: bare,
            "metrics, scraped": {
                **bare,
                "WORKER_HEALTH__PORT": str(port),
                "OTEL_METRICS_EXPORTER": "prometheus",
            },
            "metrics and traces, pushed": {**bare, **PUSHED, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        }
        course.feed(texts_of(options.log), options.messages)
        entered = {
            name: Contender(command=command, messages=options.messages, settings=settings)
            for name, settings in ways.items()
        }
        rates = medians(
            {name: partial(course.run, name, contender) for name, contender in entered.items()},
            rounds=options.rounds,
        )
    cpu_us = {name: statistics.median(run.cpu_us for run in runs) for name, runs in course.runs.items()}
    write(
        "telemetry",
        {
            "log": options.log.name,
            "messages": options.messages,
            "rounds": options.rounds,
            "messages_per_s": {name: round(rate) for name, rate in rates.items()},
            "of_without": ratios(rates, to=OFF),
            "cpu_us_a_message": {name: round(us, 2) for name, us in cpu_us.items()},
            "cpu_of_without": ratios(cpu_us, to=OFF),
            "cpu_us_each_round": {
                name: [round(run.cpu_us, 2) for run in runs] for name, runs in course.runs.items()
            },
        },
    )


if __name__ == "__main__":
    main()
