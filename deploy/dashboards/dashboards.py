#!/usr/bin/env python3
"""Write the two Grafana dashboards from the tables below: ``python deploy/dashboards/dashboards.py``.

In a query, ``{@`` means the selection of workers, and ``[@]`` means Grafana's own window of rates. With these
short forms the queries are readable. A query sums over the labels that it does not name. If two workers may report
the same partition until the next scrape, the query takes the maximum. The description of a panel comes from its
metrics.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from worker.telemetry.names import METRICS

FOLDER = Path(__file__).parent
SCHEMA_VERSION = 39  # of Grafana 11; later versions read it
COLUMNS = 24
CHOSEN = 'job="$job", namespace=~"$namespace", instance=~"$instance"'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Kind(Enum):
    """Grafana's type of a panel."""

    STAT = "stat"
    CURVES = "timeseries"
    HEAT = "heatmap"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: The panel's title.
        queries: The legend of each curve, and its PromQL.
        unit: Grafana's name of the unit.
        kind: Grafana's type of the panel.
        stacked: Whether the curves are parts of a whole.
        nothing: What a panel of a single figure shows when its query returns no data.
    """

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: Kind = Kind.CURVES
    stacked: bool = False
    nothing: str = "no data"

    @property
    def about(self) -> str:
        """The descriptions of the panel's metrics."""
        asked = " ".join(self.queries.values())
        return " ".join(
            metric.about for metric in METRICS if re.search(rf"\b{metric.prometheus}(_bucket)?\b", asked)
        )


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard.

    Attributes:
        name: The name of the file.
        title: The title in Grafana.
        rows: The heading of each row, and its panels.
    """

    name: str
    title: str
    rows: Mapping[str, Sequence[Panel]]


def rate(metric: str, by: str = "", where: str = "") -> str:
    """Return the query of a rate per second."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{@{where}}}[@]))"


def rates(metric: str, by: str, where: str = "") -> dict[str, str]:
    """Return a rate per second, with a curve for each value of the labels."""
    return {legend(by): rate(metric, by, where)}


def states(metric: str, by: str) -> dict[str, str]:
    """Return a sum, with a curve for each value of the labels."""
    return {legend(by): f"sum by ({by}) ({metric}{{@}})"}


def legend(by: str) -> str:
    """Return the legend that shows the values of the labels."""
    return " ".join(f"{{{{{label}}}}}" for label in by.split(", "))


def quantile(of: float, histogram: str, by: str = "") -> str:
    """Return the query of a quantile, from the buckets of all workers."""
    buckets = rate(f"{histogram}_bucket", f"{by}, le" if by else "le")
    return f"histogram_quantile({of}, {buckets})"


def quantiles(histogram: str) -> dict[str, str]:
    """Return the median, and the 90th and the 99th percentile."""
    return {f"p{of * 100:.0f}": quantile(of, histogram) for of in (0.5, 0.9, 0.99)}


def heat(title: str, histogram: str) -> Panel:
    """Return a panel with the frequency of each bucket over time."""
    return Panel(title, {"{{le}}": f"sum by (le) (increase({histogram}_bucket{{@}}[@]))"}, kind=Kind.HEAT)


def stat(title: str, query: str, unit: str = "short", nothing: str = "no data") -> Panel:
    """Return a panel with a single figure."""
    return Panel(title, {"now": query}, unit, Kind.STAT, nothing=nothing)


def share(part: str, whole: str) -> str:
    """Return the query of a share. It is 0, not empty, while the part has not been counted yet."""
    return f"({part} or 0 * {whole}) / {whole}"


TOPIC, OPERATION = "messaging_destination_name", "messaging_operation_name"
BACKLOG = f"max by (namespace, {TOPIC}, messaging_destination_partition_id) (moderation_backlog{{@}})"
UNKNOWN = "sum(moderation_backlog_unknown{@})"
VERDICTS, LOOKUPS = "moderation_verdicts_total", "moderation_cache_lookups_total"
FLAGGED = share(rate(VERDICTS, where=', moderation_flagged="true"'), rate(VERDICTS))
CACHED = share(rate(LOOKUPS, where=', moderation_lookup="hit"'), rate(LOOKUPS))
END_TO_END = "moderation_end_to_end_duration_seconds"
CALLS = "messaging_client_operation_duration_seconds"
MODEL = "moderation_model_name, moderation_model_revision, moderation_model_dtype"

OVERVIEW = Dashboard(
    "overview",
    "Moderation overview",
    {
        "Now": (
            stat("Workers that answer", "sum(up{@})", nothing="none"),
            stat("Verdicts a second", rate(VERDICTS), nothing="none"),
            stat("Flagged", FLAGGED, "percentunit"),
            stat("Backlog", f"sum({BACKLOG}) unless {UNKNOWN} > 0", nothing="unknown"),
            stat("End to end, p99", quantile(0.99, END_TO_END), "s"),
            stat(
                "Dead letters in the last hour",
                "sum(increase(moderation_dead_letters_total{@}[1h]))",
                nothing="none",
            ),
        ),
        "Flow": (
            Panel(
                "Messages a second, read and written",
                {
                    f"from {legend(TOPIC)}": rate("messaging_client_consumed_messages_total", TOPIC),
                    f"to {legend(TOPIC)}": rate("messaging_client_sent_messages_total", TOPIC),
                },
            ),
            Panel(
                "Backlog",
                {f"{legend(TOPIC)} (known)": f"sum by ({TOPIC}) ({BACKLOG})", "partitions unknown": UNKNOWN},
            ),
            Panel("From message to verdict", quantiles(END_TO_END), "s"),
        ),
        "Judgement": (
            Panel(
                "Verdicts and alerts a second",
                {
                    f"flagged: {legend('moderation_flagged')}": rate(VERDICTS, "moderation_flagged"),
                    f"alerts: {legend('moderation_cause')}": rate("moderation_alerts_total", "moderation_cause"),
                },
            ),
            Panel(
                "Flags a second, by category", rates("moderation_flags_total", "moderation_category"), stacked=True
            ),
            Panel(
                "Drift of the scores, by category",
                {
                    legend("moderation_category"): "avg by (moderation_category) (moderation_scores_drift{@})",
                },
            ),
            Panel(
                "Dead letters a second, by reason",
                rates("moderation_dead_letters_total", "moderation_reason"),
                stacked=True,
            ),
            Panel(
                "Partitions in quarantine",
                states(
                    "moderation_partitions_quarantined",
                    "messaging_destination_name, messaging_destination_partition_id",
                ),
                stacked=True,
            ),
            Panel("Ignored fields a second", rates("moderation_fields_ignored_total", "moderation_field")),
            Panel(
                "Messages a second that are skipped, or not scored as a whole",
                {
                    "skipped": rate("moderation_messages_skipped_total"),
                    "not scored as a whole": rate("moderation_messages_truncated_total"),
                },
            ),
            Panel(
                "Coalesced alerts",
                {
                    "counted messages a second": rate("moderation_alerts_coalesced_total"),
                    "keys without room a second": rate("moderation_alerts_unfit_total"),
                    "open windows": "sum(moderation_alerts_windows{@})",
                },
            ),
        ),
        "Policy": (
            Panel(
                "Verdicts a second, by level",
                rates("moderation_policy_verdicts_total", "moderation_level"),
                stacked=True,
            ),
            Panel(
                "Flagged verdicts a second, by rule",
                rates("moderation_policy_verdicts_total", "moderation_rule", ', moderation_level!="none"'),
                stacked=True,
            ),
            Panel(
                "Candidates that decide differently, verdicts a second",
                rates(
                    "moderation_shadow_verdicts_total",
                    "moderation_shadow_candidate, moderation_outcome",
                    ', moderation_outcome!="agree"',
                ),
            ),
            Panel(
                "Flags of candidates a second, by category",
                rates(
                    "moderation_shadow_flags_total",
                    "moderation_shadow_candidate, moderation_category, moderation_outcome",
                    ', moderation_outcome!="agree"',
                ),
            ),
            Panel(
                "Exempt and allowed, verdicts a second",
                {
                    f"exempt: {legend('moderation_exemption')}": rate(
                        "moderation_policy_exempt_total", "moderation_exemption"
                    ),
                    f"allowed: {legend('moderation_allowed')}": rate(
                        "moderation_policy_allowed_total", "moderation_allowed"
                    ),
                },
            ),
            Panel(
                "Workers by version of the policy",
                {
                    f"{legend('moderation_policy_version')} ({legend('moderation_policy_digest')})": "sum by "
                    "(moderation_policy_version, moderation_policy_digest) (moderation_policy_info{@})",
                    "workers that refuse their file": "sum(moderation_policy_file_refused{@})",
                },
            ),
            Panel(
                "Changes of the policy file since the workers started",
                states("moderation_policy_reloads_total", "moderation_outcome"),
            ),
        ),
        "Workers": (
            Panel(
                "Workers",
                {
                    "answer": "sum(up{@})",
                    "have loaded the model": "count(moderation_model_info{@})",
                    "have partitions": "count(moderation_partitions{@} > 0)",
                },
            ),
            Panel("Partitions of each worker", states("moderation_partitions", "instance"), stacked=True),
            Panel("Workers by model revision", states("moderation_model_info", MODEL), stacked=True),
        ),
    },
)

INTERNALS = Dashboard(
    "internals",
    "Worker internals",
    {
        "Batches": (
            heat("Records of a batch", "moderation_batch_records"),
            heat("Tokens of a batch", "moderation_batch_tokens"),
            Panel("Fill of a batch", quantiles("moderation_batch_fill"), "percentunit"),
        ),
        "Time": (
            Panel("Wait of the oldest message for the device", quantiles("moderation_batch_wait_seconds"), "s"),
            Panel("Preparing a chunk", quantiles("moderation_prepare_duration_seconds"), "s"),
            Panel("Scoring a batch", quantiles("moderation_score_duration_seconds"), "s"),
            Panel("From poll to the end of the transaction", quantiles("messaging_process_duration_seconds"), "s"),
        ),
        "Device": (
            Panel(
                "Share of time the device is busy",
                rates("moderation_device_busy_seconds_total", "instance"),
                "percentunit",
            ),
            Panel(
                "Tokens a second",
                {
                    "scored": rate("moderation_device_tokens_total"),
                    "padding": rate("moderation_device_padding_total"),
                },
                stacked=True,
            ),
            Panel(
                "Rows of a text, on average",
                {
                    "windows and views": f"{rate('moderation_device_rows_total')} / "
                    + rate(LOOKUPS, where=', moderation_lookup="miss"')
                },
            ),
            Panel("Greatest share of one key", states("moderation_tokens_top_share", "instance"), "percentunit"),
            Panel("Texts found in the cache", {"of the texts to score": CACHED}, "percentunit"),
            Panel("GPU memory", states("moderation_device_memory_bytes", "instance"), "bytes"),
        ),
        "Transactions": (
            Panel("Transactions a second", rates("moderation_transactions_total", "moderation_outcome")),
            Panel("Outputs not committed, a second", rates("moderation_aborted_messages_total", TOPIC)),
            Panel(
                "Transaction events since the workers started",
                states("moderation_transaction_events_total", "moderation_event"),
            ),
        ),
        "Kafka": (
            Panel("Calls to Kafka, p99", {legend(OPERATION): quantile(0.99, CALLS, OPERATION)}, "s"),
            Panel(
                "Calls to Kafka with an error, a second",
                rates(f"{CALLS}_count", f"{OPERATION}, error_type", ', error_type!=""'),
            ),
            Panel(
                "Rebalances since the workers started", states("moderation_rebalances_total", "moderation_change")
            ),
            Panel("Records in memory", states("moderation_records_in_flight", "instance"), stacked=True),
        ),
        "Limits at the brokers": (
            Panel(
                "Share of time delayed by quotas",
                rates("moderation_throttle_time_seconds_total", "moderation_client"),
                "percentunit",
            ),
            Panel(
                "Blocked by another producer's open transaction",
                {
                    legend(f"{TOPIC}, messaging_destination_partition_id"): f"max by ({TOPIC}, "
                    "messaging_destination_partition_id) (moderation_input_blocked_seconds{@})"
                },
                "s",
            ),
        ),
        "Processes": (
            Panel("Memory", states("process_resident_memory_bytes", "instance"), "bytes"),
            Panel("CPUs in use", rates("process_cpu_seconds_total", "instance")),
            Panel("Open files", states("process_open_fds", "instance")),
        ),
    },
)

DASHBOARDS = (OVERVIEW, INTERNALS)


def promql(query: str) -> str:
    """Return a query of the tables in the form that Grafana reads."""
    return query.replace("{@", "{" + CHOSEN).replace("[@]", "[$__rate_interval]")


def text(dashboard: Dashboard) -> str:
    """Return the text of the dashboard's file."""
    return json.dumps(_dashboard(dashboard), indent=1) + "\n"


def _dashboard(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": f"moderation-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["moderation"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,  # one cross hair over all panels
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "title": "Moderation",
                "type": "dashboards",
                "tags": ["moderation"],
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": list(_variables())},
        "annotations": {"list": []},
        "panels": list(_panels(dashboard)),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    # A job is always selected, because every program exports `up` and the metrics of the process. Outside
    # Kubernetes the label `namespace` is missing. The pattern `.*` matches a missing label.
    for name, label, chosen in (
        ("job", "Job", ""),
        ("namespace", "Namespace", '{job="$job"}'),
        ("instance", "Worker", '{job="$job", namespace=~"$namespace"}'),
    ):
        every = {"multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
        yield {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": f"label_values(moderation_partitions{chosen}, {name})", "refId": name},
            "refresh": 2,  # when the time range changes, because workers start and stop
            **(every if chosen else {}),
        }


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    number = y = 0
    for heading, panels in dashboard.rows.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": heading,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        }
        height, x = 4 if panels[0].kind is Kind.STAT else 8, 0
        for panel in panels:
            number += 1
            place = {"x": x, "y": y + 1, "w": COLUMNS // len(panels), "h": height}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            x += place["w"]
        y += 1 + height


def _panel(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "noValue": panel.nothing}
    match panel.kind:
        case Kind.STAT:
            options: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none"}
        case Kind.HEAT:
            options = {"calculate": False, "yAxis": {"unit": panel.unit}, "cellGap": 0}
        case Kind.CURVES:
            options = {"tooltip": {"mode": "multi", "sort": "desc"}, "legend": {"showLegend": True}}
            defaults["custom"] = {
                "fillOpacity": 20 if panel.stacked else 0,
                "stacking": {"mode": "normal" if panel.stacked else "none"},
                "showPoints": "never",
            }
    return {
        "type": panel.kind.value,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": promql(query),
                "legendFormat": words,
                "range": panel.kind is not Kind.STAT,
                "instant": panel.kind is Kind.STAT,
                "format": "heatmap" if panel.kind is Kind.HEAT else "time_series",
            }
            for number, (words, query) in enumerate(panel.queries.items())
        ],
    }


def main() -> None:
    """Write the files."""
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.name}.json").write_text(text(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
