"""Dashboards, rules and runbook before a real Prometheus that scrapes a real worker."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.kafka_env import KafkaEnv
from tests.prometheus import JOB, ROOT, RULES, Prometheus, as_asked, running_prometheus, tool
from tests.worker_process import Start, WorkerProcess
from worker.commands.broker.node import free_ports
from worker.commands.demo.sample import CHAT

PORTIONS = 5
WINDOW = "30s"
POLICY = """
schema: policy/1
levels: [review, remove]
thresholds: {default: {review: 0.5, remove: 0.9}}
shadow: [{name: strict, thresholds: {default: {review: 0.3}}}]
"""
EMPTY = {
    "moderation_policy_exempt_total": "the policy exempts no message",
    "moderation_policy_allowed_total": "the policy allows no text",
    "moderation_tokens_top_share": "the worker scores too few tokens",
    "moderation_scores_drift": "the worker has no drift reference",
    "moderation_device_memory_bytes": "there is no GPU here",
    "moderation_aborted_messages_total": "no transaction was aborted",
    "moderation_fields_ignored_total": "every field could be read",
    "moderation_input_blocked_seconds": "no transaction of another producer is open",
    "moderation_partitions_quarantined": "no partition is in quarantine",
    'moderation_outcome="aborted"': "no transaction was aborted",
    "moderation_transaction_events_total": "nothing went wrong in a transaction",
    'moderation_reason=~"model_failed|tokenizer_failed"': "no text broke the model",
    'error_type!=""': "no call to Kafka failed or took another slice",
}
"""Why a query may give nothing about a worker that is well. A counter that was never raised does not exist."""


def panels() -> Iterator[str]:
    """The queries of all of them."""
    for file in sorted((ROOT / "deploy" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            yield from (as_asked(target["expr"], window=WINDOW) for target in panel.get("targets", []))


def runbook() -> Iterator[str]:
    """The queries that it tells one to ask."""
    for block in re.findall(
        r"^```promql\n(.*?)^```$", (ROOT / "docs/runbook.md").read_text(), re.DOTALL | re.MULTILINE
    ):
        yield from block.splitlines()


def selections() -> Iterator[str]:
    """What the rules look at: their conditions must not hold here, but what is compared must exist."""
    for rule in YAML(typ="safe").load(RULES / "alerts.yaml")["groups"][0]["rules"]:
        yield from re.findall(r"\b(?:up|moderation|messaging|process|namespace_job:)[\w:]*\{[^}]*\}", rule["expr"])
        yield from re.findall(r"\((?:max by \([^)]*\) \()?((?:moderation|messaging)_\w+)[)\[]", rule["expr"])
        yield from ([rule["record"]] if "record" in rule else [])


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[tuple[Prometheus, int]]:
    """It, and the port at which it looks for a worker."""
    port = free_ports(1)[0]
    (tmp_path / "prometheus").mkdir()
    with running_prometheus(tool("prometheus"), tmp_path / "prometheus", [port]) as running:
        yield running, port


@pytest.mark.parametrize(
    "arguments",
    [
        "check rules deploy/prometheus/alerts.yaml",
        "test rules deploy/prometheus/alerts_test.yaml",
        "check config --syntax-only deploy/compose/prometheus.yaml",
    ],
)
def test_promtool_is_content(arguments: str) -> None:
    command = [str(tool("promtool")), *arguments.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def wait_for_answers(running: Prometheus, worker: WorkerProcess, wanted: int) -> None:
    """Returns once Prometheus has seen so many verdicts and dead letters."""
    answers = 'sum({__name__=~"moderation_verdicts_total|moderation_dead_letters_total"})'
    worker.wait_until(lambda: running.value(answers) == wanted)


@pytest.mark.kafka
@pytest.mark.slow
def test_every_query_finds_data_of_a_worker_that_moderates(
    scene: KafkaEnv, start: Start, prometheus: tuple[Prometheus, int], tmp_path: Path
) -> None:
    running, port = prometheus
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    environ = scene.environ(HEALTH__PORT=str(port), POLICY__THRESHOLD="", POLICY__PATH=str(file))
    worker = start({**environ, "OTEL_METRICS_EXPORTER": "prometheus", "OTEL_TRACES_EXPORTER": "none"})
    worker.wait_until(lambda: running.value(f'up{{job="{JOB}"}}') == 1)
    values = CHAT.read_bytes().splitlines()
    sent = 0
    for portion in range(PORTIONS):  # one after the other, so that there are rates
        given = [*values[portion::PORTIONS], b'{"body":"elsewhere"}']
        scene.send(given)
        sent += len(given)
        wait_for_answers(running, worker, sent)
    worker.wait_until(lambda: [count for _, count in running.ask("namespace_job:moderation_backlog:sum")] == [0])
    asked = dict.fromkeys([*panels(), *runbook(), *selections()])
    nothing = [query for query in asked if not running.ask(query)]
    assert [query for query in nothing if not any(part in query for part in EMPTY)] == []
    assert [part for part in EMPTY if not any(part in query for query in asked)] == []
    rules = running.rules
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []
    worker.drain()
