"""Measure the cost of telemetry: ``python -m tests.bench.telemetry LOG --tokenizer tokenizer.json``.

The worker of the pipeline's benchmark runs with a null model, so that the figures show everything except the model.
It runs without telemetry; with metrics that are scraped every second; with these metrics and a drift reference; and
with metrics and every trace pushed over OTLP every second. The report has the throughput, and the CPU time of the
worker's process per message, which is less noisy.
"""

import statistics
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from schemas.labels import CATEGORY_SLUGS
from tests.bench.pipeline_course import Contender, course_on_broker, log_options, texts_of
from tests.bench.pipeline_worker import IDENTITY
from tests.bench.side_by_side import medians, ratios, write
from tests.meanwhile import meanwhile
from worker.commands.broker.node import free_ports
from worker.commands.calibrate.drift_reference import drift_reference
from worker.moderation.drift_reference import ReferenceModel
from worker.settings import load_settings
from worker.wiring import reference_text

EVERY_S = 1.0
OFF = "without telemetry"
PUSHED = {
    "OTEL_METRICS_EXPORTER": "otlp",
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
}


class _Sink(BaseHTTPRequestHandler):
    """Accepts what is exported and drops it."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write no log."""


@contextmanager
def collector() -> Iterator[str]:
    """Run a collector, and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Sink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextmanager
def scraped(port: int) -> Iterator[None]:
    """Scrape the metrics every second during the block, whether a worker is there or not."""

    def scrape() -> None:
        with (
            suppress(OSError),  # no worker is there, or it has just ended
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer,
        ):
            answer.read()

    with meanwhile(scrape, every_s=EVERY_S):
        yield


def reference(folder: Path) -> Path:
    """Write a drift reference of random scores, and return its path."""
    scores = np.random.default_rng(1).random((2000, len(CATEGORY_SLUGS)), np.float32)
    model = ReferenceModel(name=IDENTITY.name, revision=IDENTITY.revision, dtype=IDENTITY.dtype)
    path = folder / "drift.json"
    path.write_text(drift_reference(scores, model, reference_text(load_settings({}).settings)).model_dump_json())
    return path


def main() -> None:
    """Measure the four ways in turn."""
    parser = log_options(__doc__, rounds=9)
    options = parser.parse_args()
    command = (sys.executable, "-m", "tests.bench.pipeline_worker", str(options.tokenizer.absolute()))
    [port] = free_ports(1)
    bare = {"WORKER_CACHE__BYTES_MAX": "0"}
    with (
        course_on_broker() as course,
        collector() as endpoint,
        scraped(port),
        tempfile.TemporaryDirectory() as folder,
    ):
        scraping = {**bare, "WORKER_HEALTH__PORT": str(port), "OTEL_METRICS_EXPORTER": "prometheus"}
        ways = {
            OFF: bare,
            "metrics, scraped": scraping,
            "metrics and drift, scraped": {**scraping, "WORKER_DRIFT__REFERENCE": str(reference(Path(folder)))},
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
