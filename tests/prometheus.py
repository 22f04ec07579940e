"""A real Prometheus for tests: it scrapes workers each second, evaluates the rules, and is asked over HTTP."""

import json
import math
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.worker_process import eventually
from worker.commands.broker.node import HOST, free_ports

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy" / "prometheus"
JOB = "moderation-worker"
Labels = Mapping[str, str]


def tool(name: str) -> Path:
    """The program; without it the test is skipped, or fails where TOOLS=required promises it."""
    program = ROOT / ".tools" / "bin" / name
    if not program.exists():
        complain = pytest.fail if os.environ.get("TOOLS") == "required" else pytest.skip
        complain(f"{name} is not here: `make tools` puts it into .tools/bin")
    return program


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """A running one."""

    address: str

    def ask(self, query: str) -> list[tuple[Labels, float]]:
        """What it says now; a quantile or a share of nothing is no answer."""
        found = [(one["metric"], float(one["value"][1])) for one in self._get("query", query=query)["result"]]
        return [(labels, value) for labels, value in found if not math.isnan(value)]

    def ask_range(
        self, query: str, *, start_s: float, end_s: float, step_s: int
    ) -> list[tuple[Labels, list[tuple[float, float]]]]:
        """What it says of a while: for each series pairs of seconds and value."""
        asked = {"query": query, "start": start_s, "end": end_s, "step": step_s}
        found = self._get("query_range", **asked)["result"]
        return [
            (one["metric"], [(at, float(value)) for at, value in one["values"] if value != "NaN"]) for one in found
        ]

    def value(self, query: str) -> float:
        """The only figure that it gives; 0: there is none."""
        return sum(value for _, value in self.ask(query))

    @property
    def now_s(self) -> float:
        """Its clock."""
        return float(self._get("query", query="time()")["result"][1])

    @property
    def rules(self) -> list[dict[str, Any]]:
        """How each rule fares."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    @property
    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            with urlopen(f"http://{self.address}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except URLError:
            return False

    def _get(self, what: str, **asked: object) -> Any:
        with urlopen(f"http://{self.address}/api/v1/{what}?{urlencode(asked)}", timeout=30) as answer:
            return json.load(answer)["data"]


@contextmanager
def running_prometheus(program: Path, folder: Path, ports: Sequence[int]) -> Iterator[Prometheus]:
    """Scrapes the workers with these health ports and evaluates the rules in deploy/, while the block lasts."""
    targets = [
        {"targets": [f"{HOST}:{port}"], "labels": {"instance": f"worker-{number}"}}  # named, as pods are
        for number, port in enumerate(ports)
    ]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES / "alerts.yaml")],
        "scrape_configs": [{"job_name": JOB, "static_configs": targets}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # which is YAML, too
    prometheus = Prometheus(address=f"{HOST}:{free_ports(1)[0]}")
    log = folder / "prometheus.log"
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={prometheus.address}",
                "--log.level=warn",
            ],
            cwd=folder,
            stdout=said,
            stderr=said,
        ) as process,
    ):
        try:
            eventually(lambda: prometheus.is_ready, log.read_text, seconds_max=30)
            yield prometheus
        finally:
            process.terminate()


def as_asked(query: str, *, window: str) -> str:
    """A panel's query, with what Grafana would put into it.

    Args:
        query: With Grafana's variables.
        window: For rates; Grafana's is four scrapes at least.
    """
    values = {"$job": JOB, "$namespace": ".*", "$instance": ".*", "$__rate_interval": window}
    for name, value in values.items():
        query = query.replace(name, value)
    return query
