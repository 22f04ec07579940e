"""The dashboards' panels of a real run, as a picture: ``python -m tests.bench.dashboard LOG``.

A worker with the bundled model moderates the messages of a log on the embedded Kafka, scraped by a real Prometheus.
A backlog stands before it starts; then messages come at an even rate, with waves of many at once, and a second
worker joins. Prometheus is then asked what the panels ask. The curves are its answers; Grafana has no part in it.
"""

import argparse
import gzip
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from confluent_kafka import Producer

from deploy.dashboards.dashboards import DASHBOARDS, Kind, Panel, promql
from tests.bench.side_by_side import PICTURES, say
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
    *("The device is busy", "Tokens a second", "Texts known before"),
    *("Transactions a second", "Calls to Kafka, p99", "CPUs in use"),
)

COLUMNS, WIDTH, HEIGHT, GAP, LEFT, HEAD = 3, 340, 130, 20, 44, 60
PICTURE = COLUMNS * (WIDTH + GAP) + GAP
LEGEND_LINE = 13
COLOURS = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#17becf",
    "#bcbd22",
    "#e377c2",
    "#7f7f7f",
)

Curves = dict[str, list[tuple[float, float]]]


def messages(log: Path) -> list[bytes]:
    """The log's, each sent as it is, and now and then one that nobody can read."""
    with gzip.open(log) if log.suffix == ".gz" else log.open("rb") as lines:
        values = [line.rstrip(b"\n") for line in lines]
    return [b"no JSON" if number % UNREADABLE_EVERY == 0 else value for number, value in enumerate(values, 1)]


class Feed:
    """What is sent, over the partitions in turn."""

    def __init__(self, servers: str, topic: str, values: Sequence[bytes]) -> None:
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 5, "log_level": 0})
        self._topic = topic
        self._values = values
        self._sent = 0

    def up_to(self, total: int) -> None:
        """Sends until it is so many."""
        for number in range(self._sent, min(total, len(self._values))):
            self._producer.produce(self._topic, self._values[number], partition=number % PARTITIONS)
            self._producer.poll(0)
            self._sent = number + 1
        self._producer.flush()

    def course(self) -> Iterator[float]:
        """Sends what is left, at an even rate and in waves; yields how many seconds have passed."""
        began, began_s = self._sent, time.monotonic()
        while self._sent < len(self._values):
            passed_s = time.monotonic() - began_s
            self.up_to(began + int(passed_s * PER_SECOND) + WAVE * int(passed_s // WAVE_EVERY_S))
            yield passed_s
            time.sleep(0.02)


def start(folder: Path, names: KafkaNames, servers: str, port: int) -> WorkerSubprocess:
    """A worker that tells of itself on that port."""
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
    """What Prometheus says of the run, by panel."""
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
    """Verdicts and dead letters."""
    return prometheus.value('sum({__name__=~"moderation_verdicts_total|moderation_dead_letters_total"})')


def wait(done: Callable[[], bool], crew: Sequence[WorkerSubprocess]) -> None:
    """Returns once it is so; the workers must live."""
    deadline_s = time.monotonic() + 60 * MINUTES_MAX
    while not done():
        for worker in crew:
            if worker.exit_code is not None or time.monotonic() > deadline_s:
                raise SystemExit(worker.log_tail())
        time.sleep(0.2)


def shown() -> list[Panel]:
    """The panels of the picture, in its order."""
    panels = {
        panel.title: panel
        for dashboard in DASHBOARDS
        for row in dashboard.rows.values()
        for panel in row
        if panel.kind is Kind.CURVES
    }
    return [panels[title] for title in SHOWN]


def curves(prometheus: Prometheus, panel: Panel, began_s: float) -> Curves:
    """A panel's, by legend; seconds count from the beginning."""
    found: Curves = {}
    for legend, query in panel.queries.items():
        asked = as_asked(promql(query), window=WINDOW)
        answers = prometheus.ask_range(asked, start_s=began_s, end_s=prometheus.now_s, step_s=STEP_S)
        for labels, points in answers:
            found[named(legend, labels)] = [(at - began_s, value) for at, value in points]
    return found


def named(legend: str, labels: Labels) -> str:
    """A legend with its labels' values."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)


def draw(title: str, panels: Mapping[str, Curves]) -> str:
    """The picture: rows of panels, each as high as its longest legend wants."""
    end_s = max(at for one in panels.values() for points in one.values() for at, _ in points)
    units = {panel.title: panel.unit for panel in shown()}
    lines, y = [text(GAP, 28, title, size=16)], HEAD
    names = list(panels)
    for row in (names[first : first + COLUMNS] for first in range(0, len(names), COLUMNS)):
        for x, name in zip(range(GAP, PICTURE, WIDTH + GAP), row, strict=False):
            lines += [text(x, y, name, size=13)]
            lines += chart(panels[name], x + LEFT, y + 8, end_s=end_s, unit=units[name])
        y += HEIGHT + 50 + LEGEND_LINE * max(-(-len(panels[name]) // 2) for name in row)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {PICTURE} {y}" font-family="sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *lines, "</svg>"]) + "\n"


def chart(found: Curves, x: int, y: int, *, end_s: float, unit: str) -> Iterator[str]:
    """One panel's curves, from 0, and their legend in two columns."""
    width, bottom = WIDTH - LEFT, y + HEIGHT
    top = max((value for points in found.values() for _, value in points), default=0) or 1
    yield f'<rect x="{x}" y="{y}" width="{width}" height="{HEIGHT}" fill="#f6f6f6"/>'
    yield text(x - 4, y + 9, scale(top, unit), anchor="end")
    yield text(x - 4, bottom, "0", anchor="end")
    yield text(x + width, bottom + 12, f"{end_s:.0f} s", anchor="end")
    for number, (name, points) in enumerate(sorted(found.items())):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x + width * at / end_s:.0f},{bottom - HEIGHT * value / top:.1f}" for at, value in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.3"/>'
        line, column = divmod(number, 2)
        yield text(x + column * width // 2, bottom + 26 + LEGEND_LINE * line, name, colour=colour)


def scale(value: float, unit: str) -> str:
    """The greatest value of an axis."""
    match unit:
        case "percentunit":
            return f"{value:.0%}"
        case "s":
            return f"{value:.2g} s"
        case _:
            return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def text(x: float, y: float, words: str, *, size: int = 10, anchor: str = "start", colour: str = "black") -> str:
    """Words."""
    place = f'x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{escape(words)}</text>"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path, help="JSON lines with text, gzipped or not")
    log = parser.parse_args().log
    values = messages(log)
    with tempfile.TemporaryDirectory() as folder:
        found = run(values, Path(folder))
    for title, one in found.items():
        say(f"{title}: {', '.join(one) or 'nothing'}")
    title = f"{len(values):,} messages of {log.name.partition('.')[0]}, as Prometheus saw them"
    (PICTURES / "dashboard.svg").write_text(draw(title, found), encoding="utf-8")


if __name__ == "__main__":
    main()
