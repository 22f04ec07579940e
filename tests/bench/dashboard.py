"""Draw the dashboards' panels of a real run: ``python -m tests.bench.dashboard LOG``.

A worker with the bundled model moderates the messages of a log on the embedded Kafka, and a real Prometheus scrapes
it. A backlog waits before the worker starts. Then messages come at an even rate, with waves of many messages, and a
second worker joins. At the end this script asks Prometheus the queries of the panels. The curves are the answers;
Grafana is not involved.
"""

import argparse
import gzip
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from confluent_kafka import Producer

from deploy.dashboards.dashboards import DASHBOARDS, Kind, Panel, promql
from tests.bench.pictures import draw
from tests.bench.side_by_side import say, write
from tests.prometheus import ROOT, Labels, Prometheus, as_asked, running_prometheus, tool
from worker.commands.broker.embedded import running_broker
from worker.commands.broker.node import free_ports
from worker.commands.prove.kafka_names import KafkaNames
from worker.commands.prove.worker_subprocess import WorkerSubprocess
from worker.kafka.topics import PARTITIONS, create_topics

BACKLOG = 25_000
PER_SECOND = 500
WAVE, WAVE_EVERY_S = 5_000, 15
SECOND_WORKER_S = 5
UNREADABLE_EVERY = 500
AFTER_S = 10
STEP_S = 1
WINDOW = "5s"
MINUTES_MAX = 6
SHOWN = (
    *("Messages a second, read and written", "Backlog", "From message to verdict"),
    *("Verdicts and alerts a second", "Flags a second, by category", "Dead letters a second, by reason"),
    *("Partitions of each worker", "Fill of a batch", "Scoring a batch"),
    *("Share of time the device is busy", "Tokens a second", "Texts found in the cache"),
    *("Transactions a second", "Calls to Kafka, p99", "CPUs in use"),
)

Curves = dict[str, list[tuple[float, float]]]


def messages(log: Path) -> list[bytes]:
    """Return the messages of the log, with an unreadable one after every 499."""
    with gzip.open(log) if log.suffix == ".gz" else log.open("rb") as lines:
        values = [line.rstrip(b"\n") for line in lines]
    return [b"no JSON" if number % UNREADABLE_EVERY == 0 else value for number, value in enumerate(values, 1)]


class Feed:
    """Sends the messages to the partitions in turn."""

    def __init__(self, servers: str, topic: str, values: Sequence[bytes]) -> None:
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 5, "log_level": 0})
        self._topic = topic
        self._values = values
        self._sent = 0

    def up_to(self, total: int) -> None:
        """Send messages until ``total`` messages are sent."""
        for number in range(self._sent, min(total, len(self._values))):
            self._producer.produce(self._topic, self._values[number], partition=number % PARTITIONS)
            self._producer.poll(0)
            self._sent = number + 1
        self._producer.flush()

    def course(self) -> Iterator[float]:
        """Send the other messages at an even rate and in waves, and yield the seconds that have passed."""
        began, began_s = self._sent, time.monotonic()
        while self._sent < len(self._values):
            passed_s = time.monotonic() - began_s
            self.up_to(began + int(passed_s * PER_SECOND) + WAVE * int(passed_s // WAVE_EVERY_S))
            yield passed_s
            time.sleep(0.02)


def start(folder: Path, names: KafkaNames, servers: str, port: int) -> WorkerSubprocess:
    """Start a worker with its metrics on ``port``."""
    name = f"worker-{port}"
    environ = {
        **{key: value for key, value in os.environ.items() if not key.upper().startswith(("WORKER_", "OTEL_"))},
        **names.settings,
        "PYTHONPATH": str(ROOT),
        "WORKER_KAFKA__BOOTSTRAP_SERVERS": servers,
        "WORKER_KAFKA__TRANSACTIONAL_ID": f"{names.group}.{name}",
        "WORKER_MODEL__PATH": "demo",
        "WORKER_MODEL__THREADS": "1",
        "WORKER_HEALTH__PORT": str(port),
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_TRACES_EXPORTER": "none",
    }
    return WorkerSubprocess(name=name, folder=folder / name, environ=environ)


def run(values: Sequence[bytes], folder: Path) -> dict[str, Curves]:
    """Run the workers, and return Prometheus's answers by panel."""
    names, ports = KafkaNames.with_prefix(""), free_ports(2)
    (folder / "prometheus").mkdir()
    with (
        running_broker() as broker,
        running_prometheus(tool("prometheus"), folder / "prometheus", ports) as prometheus,
    ):
        servers = broker.bootstrap_servers
        create_topics({"bootstrap.servers": servers}, names.specs)
        feed = Feed(servers, names.input, values)
        feed.up_to(BACKLOG)
        crew = [start(folder, names, servers, ports[0])]
        try:
            wait(lambda: prometheus.value("moderation_partitions") > 0, crew)
            began_s = prometheus.now_s
            for passed_s in feed.course():
                if passed_s > SECOND_WORKER_S and len(crew) == 1:
                    crew.append(start(folder, names, servers, ports[1]))
            wait(lambda: judged(prometheus) == len(values), crew)
            done_s = prometheus.now_s
            say(f"{len(values):,} messages, judged after {done_s - began_s:.0f} s")
            wait(lambda: prometheus.now_s > done_s + AFTER_S, crew)
            return {panel.title: curves(prometheus, panel, began_s) for panel in shown()}
        finally:
            for worker in crew:
                say(f"{worker.name} ended with {worker.drain()}")


def judged(prometheus: Prometheus) -> float:
    """Return the number of verdicts and dead letters."""
    return prometheus.value('sum({__name__=~"moderation_verdicts_total|moderation_dead_letters_total"})')


def wait(done: Callable[[], bool], crew: Sequence[WorkerSubprocess]) -> None:
    """Wait until ``done`` is true. End the script if a worker ends or the time is over."""
    deadline_s = time.monotonic() + 60 * MINUTES_MAX
    while not done():
        for worker in crew:
            if worker.exit_code is not None or time.monotonic() > deadline_s:
                raise SystemExit(worker.log_tail())
        time.sleep(0.2)


def shown() -> list[Panel]:
    """Return the panels of the picture in their order."""
    panels = {
        panel.title: panel
        for dashboard in DASHBOARDS
        for row in dashboard.rows.values()
        for panel in row
        if panel.kind is Kind.CURVES
    }
    return [panels[title] for title in SHOWN]


def curves(prometheus: Prometheus, panel: Panel, began_s: float) -> Curves:
    """Return the curves of a panel by their legend. Seconds count from the beginning of the run."""
    found: Curves = {}
    for legend, query in panel.queries.items():
        asked = as_asked(promql(query), window=WINDOW)
        answers = prometheus.ask_range(asked, start_s=began_s, end_s=prometheus.now_s, step_s=STEP_S)
        for labels, points in answers:
            found[named(legend, labels)] = [(at - began_s, value) for at, value in points]
    return found


def named(legend: str, labels: Labels) -> str:
    """Fill the labels' values into a legend."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)


def main() -> None:
    """Run the workers, then draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path, help="JSON lines with text, gzipped or not")
    log = parser.parse_args().log
    values = messages(log)
    with tempfile.TemporaryDirectory() as folder:
        found = run(values, Path(folder))
    for title, one in found.items():
        say(f"{title}: {', '.join(one) or 'nothing'}")
    title = f"{len(values):,} messages of {log.name.partition('.')[0]}, as Prometheus saw them"
    write("dashboard", {"title": title, "panels": found})
    draw("dashboard")


if __name__ == "__main__":
    main()
