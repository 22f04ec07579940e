"""Dashboards and rules ask for what the worker exports, and say what the runbook explains."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from deploy.dashboards import dashboards
from deploy.prometheus import prometheusrule
from schemas.dead_letter import MODEL_REASONS
from worker.kafka.transaction import Event
from worker.telemetry.names import METRICS, InstrumentKind

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = YAML(typ="safe").load(PROMETHEUS / "alerts.yaml")["groups"][0]["rules"]
ALERTS = [rule for rule in RULES if "alert" in rule]
FILES = [json.loads(dashboards.text(one)) for one in dashboards.DASHBOARDS]
PANELS = [panel for file in FILES for panel in file["panels"] if panel["type"] != "row"]
# Those of Prometheus, and of prometheus_client's collector of the process.
NOT_OURS = {"up", "process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"}
NOT_OURS |= {"process_open_fds"}
ADDED_BY_THE_SCRAPE = {"job", "instance", "namespace", "le"}


def exported() -> dict[str, set[str]]:
    """By PromQL's name of each series, its labels."""
    found: dict[str, set[str]] = {}
    for metric in METRICS:
        names = [metric.prometheus]
        if metric.kind is InstrumentKind.HISTOGRAM:
            names = [f"{metric.prometheus}_{part}" for part in ("bucket", "sum", "count")]
        found |= {name: {attribute.replace(".", "_") for attribute in metric.attributes} for name in names}
    return found


def queries() -> Iterator[str]:
    """All of them."""
    yield from (target["expr"] for panel in PANELS for target in panel["targets"])
    yield from (str(rule["expr"]) for rule in RULES)


@pytest.mark.parametrize("dashboard", dashboards.DASHBOARDS, ids=lambda one: one.name)
def test_the_dashboard_in_the_repository_is_the_script_s(dashboard: dashboards.Dashboard) -> None:
    file = dashboards.FOLDER / f"{dashboard.name}.json"
    assert file.read_text() == dashboards.text(dashboard), "run deploy/dashboards/dashboards.py"


def test_the_operator_s_rules_are_the_rules() -> None:
    assert (PROMETHEUS / "prometheusrule.yaml").read_text() == prometheusrule.resource()
    resource = YAML(typ="safe").load(PROMETHEUS / "prometheusrule.yaml")
    assert resource["spec"]["groups"][0]["rules"] == RULES


@pytest.mark.parametrize("query", list(dict.fromkeys(queries())))
def test_every_name_and_label_of_a_query_is_exported(query: str) -> None:
    names, recorded = exported(), {rule["record"] for rule in RULES if "record" in rule}
    bare = re.sub(r'"[^"]*"', "", query)
    words = set(re.findall(r"[\w:]+", bare))
    series = words & (names.keys() | NOT_OURS)
    labels = {label for name in series for label in names.get(name, ())}
    assert series or words & recorded
    ours = {word for word in words if re.match("moderation_|messaging_|process_", word)}
    assert ours - series <= labels, "neither a metric nor a label of one that the query asks"
    selected = {label for part in re.findall(r"\{([^}]*)\}", bare) for label in re.findall(r"(\w+)\s*[=!]", part)}
    grouped = {label for part in re.findall(r"by \(([^)]*)\)", bare) for label in re.findall(r"\w+", part)}
    assert selected | grouped <= labels | ADDED_BY_THE_SCRAPE


def test_every_metric_is_shown() -> None:
    shown = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    assert [metric.name for metric in METRICS if not re.search(rf"\b{metric.prometheus}(_bucket)?\b", shown)] == []


def test_values_of_labels_in_rules_are_those_that_the_worker_uses() -> None:
    rules = " ".join(str(rule["expr"]) for rule in RULES)
    events = re.findall(r'moderation_event=~"([^"]*)"', rules)
    assert {event for some in events for event in some.split("|")} <= {event.value for event in Event}
    reasons = re.findall(r'moderation_reason[!=]~"([^"]*)"', rules)
    assert {reason for some in reasons for reason in some.split("|")} == MODEL_REASONS.keys()


def test_a_panel_that_shows_the_backlog_never_takes_a_missing_one_for_zero() -> None:
    of_backlog = [panel for panel in PANELS if "moderation_backlog{" in str(panel["targets"])]
    assert len(of_backlog) == 2
    for panel in of_backlog:
        assert "moderation_backlog_unknown{" in str(panel["targets"])
        assert "or 0" not in str(panel["targets"])
        assert panel["fieldConfig"]["defaults"]["noValue"] != "0"


def test_panels_have_their_own_numbers_and_places() -> None:
    for file in FILES:
        numbers = [panel["id"] for panel in file["panels"]]
        assert len(set(numbers)) == len(numbers)
        cells = [
            (x, y)
            for at in (panel["gridPos"] for panel in file["panels"])
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
        assert len(set(cells)) == len(cells)
        assert max(x for x, _ in cells) < dashboards.COLUMNS


def test_every_panel_says_what_it_is_about() -> None:
    # The series of Prometheus and of the process need no description.
    assert [
        panel["title"] for panel in PANELS if not panel["description"] and "moderation" in str(panel["targets"])
    ] == []


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_where_its_runbook_stands(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in [heading.lower().replace(" ", "-") for heading in headings]


def test_the_runbook_has_no_entry_for_an_alert_that_is_gone() -> None:
    headings = re.findall(r"^### (.*)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(rule["alert"] for rule in ALERTS)


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_nothing_does() -> None:
    tests = YAML(typ="safe").load(PROMETHEUS / "alerts_test.yaml")["tests"]
    asked = [one for test in tests for one in test["promql_expr_test"]]
    fires = {name for one in asked for name in re.findall(r'alertname="(\w+)"', str(one["exp_samples"]))}
    assert fires == {rule["alert"] for rule in ALERTS}
    assert any("ALERTS" in one["expr"] and not one["exp_samples"] for one in asked)


def test_what_finds_the_workers_gives_them_the_job_that_the_rules_name() -> None:
    jobs = {job for rule in RULES for job in re.findall(r'job="([^"]*)"', str(rule["expr"]))}
    scrape = YAML(typ="safe").load(ROOT / "deploy/compose/prometheus.yaml")["scrape_configs"]
    monitor = YAML(typ="safe").load(PROMETHEUS / "podmonitor.yaml")
    assert jobs == {"moderation-worker"}
    assert {one["job_name"] for one in scrape} == jobs
    assert {monitor["spec"]["selector"]["matchLabels"][monitor["spec"]["jobLabel"]]} == jobs


def test_compose_s_prometheus_and_grafana_find_what_they_need() -> None:
    services = YAML(typ="safe").load(ROOT / "docker-compose.yml")["services"]
    found = YAML(typ="safe").load(ROOT / "deploy/compose/prometheus.yaml")
    [dns] = found["scrape_configs"][0]["dns_sd_configs"]
    for name in dns["names"]:
        environment = services[name]["environment"]
        assert environment["WORKER_HEALTH__PORT"] == str(dns["port"])
        assert environment["OTEL_METRICS_EXPORTER"] == "prometheus"
    mounted = {mount.split(":")[1] for mount in services["prometheus"]["volumes"]}
    assert {f"/etc/prometheus/{rules}" for rules in found["rule_files"]} <= mounted
    datasource = YAML(typ="safe").load(ROOT / "deploy/compose/grafana-datasources.yaml")["datasources"][0]
    assert datasource["jsonData"]["timeInterval"] == found["global"]["scrape_interval"]
    [provider] = YAML(typ="safe").load(ROOT / "deploy/compose/grafana-dashboards.yaml")["providers"]
    shown = [mount.split(":") for mount in services["grafana"]["volumes"] if "dashboards/" in mount.split(":")[0]]
    assert {target for _, target, _ in shown} == {
        f"{provider['options']['path']}/{dashboard.name}.json" for dashboard in dashboards.DASHBOARDS
    }
    observability = [service for service in services.values() if service.get("profiles") == ["observability"]]
    assert len(observability) == 3
    for service in observability:
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
