#!/usr/bin/env python3
"""Writes the two Grafana dashboards beside it from the tables below: ``python deploy/dashboards/dashboards.py``.

In a query ``{@`` stands for the choice of workers, and ``[@]`` for Grafana's own window of rates: written out they
would hide the rest. A query sums over the labels that it does not name; where two workers may report the same
partition until one of them is scraped again, it takes the greater figure. What a panel is about, its metrics say.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from worker.telemetry.names import METRICS

FOLDER = Path(__file__).parent
SCHEMA_VERSION = 39  # Grafana 11's; later ones read it
COLUMNS = 24
CHOSEN = 'job="$job", namespace=~"$namespace", instance=~"$instance"'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
TOPIC, PARTITION = "messaging_destination_name", "messaging_destination_partition_id"


class Kind(Enum):
    """Grafana's type of a panel."""

    STAT = "stat"
    CURVES = "timeseries"
    HEAT = "heatmap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What stands in one rectangle.

    Attributes:
        title: Above it.
        queries: PromQL by the legend of its curves.
        unit: Grafana's name of it.
        kind: How it is drawn.
        width: Of the 24 columns.
        stacked: The curves are parts of a whole.
        nothing: What a single figure says when there is no data.
    """

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: Kind = Kind.CURVES
    width: int = 8
    stacked: bool = False
    nothing: str = "no data"

    @property
    def about(self) -> str:
        """What its metrics say of themselves."""
        asked = " ".join(self.queries.values())
        return " ".join(
            metric.about for metric in METRICS if re.search(rf"\b{metric.prometheus}(_bucket)?\b", asked)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One of Grafana's; its panels by the heading above them."""

    name: str
    title: str
    rows: Mapping[str, tuple[Panel, ...]]


def rate(metric: str, by: str = "", where: str = "") -> str:
    """How much a second."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{@{where}}}[@]))"


def quantiles(histogram: str, by: str = "") -> dict[str, str]:
    """The median, the 90th and the 99th percentile."""
    name = f"{{{{{by}}}}} " if by else ""
    return {
        f"{name}p{share * 100:.0f}": f"histogram_quantile({share}, {rate(histogram + '_bucket', by=by_le(by))})"
        for share in (0.5, 0.9, 0.99)
    }


def by_le(by: str) -> str:
    """The buckets apart, and what is asked besides."""
    return f"{by}, le" if by else "le"


def heat(title: str, histogram: str) -> Panel:
    """How often each bucket, over time."""
    asked = f"sum by (le) (increase({histogram}_bucket{{@}}[@]))"
    return Panel(title=title, queries={"{{le}}": asked}, kind=Kind.HEAT)


def share(part: str, whole: str) -> str:
    """A part of a whole; 0, not nothing, where the part has not been counted yet."""
    return f"({part} or 0 * {whole}) / {whole}"


BACKLOG = f"max by (namespace, {TOPIC}, {PARTITION}) (moderation_backlog{{@}})"
UNKNOWN = "sum(moderation_backlog_unknown{@})"
VERDICTS = "moderation_verdicts_total"
FLAGGED = share(rate(VERDICTS, where=', moderation_flagged="true"'), rate(VERDICTS))
LOOKUPS = "moderation_cache_lookups_total"
KNOWN = share(rate(LOOKUPS, where=', moderation_lookup="hit"'), rate(LOOKUPS))
OPERATION = "messaging_operation_name"
OPERATIONS = "messaging_client_operation_duration_seconds"

MODEL = ("moderation_model_name", "moderation_model_revision", "moderation_model_dtype")

OVERVIEW = Dashboard(
    name="overview",
    title="Moderation overview",
    rows={
        "Now": (
            Panel(
                title="Workers that answer",
                queries={"workers": "sum(up{@})"},
                kind=Kind.STAT,
                width=4,
                nothing="none",
            ),
            Panel(
                title="Verdicts a second",
                queries={"verdicts": rate(VERDICTS)},
                kind=Kind.STAT,
                width=4,
                nothing="none",
            ),
            Panel(title="Flagged", queries={"flagged": FLAGGED}, unit="percentunit", kind=Kind.STAT, width=4),
            Panel(
                title="Backlog",
                queries={"messages": f"sum({BACKLOG}) unless {UNKNOWN} > 0"},
                kind=Kind.STAT,
                width=4,
                nothing="unknown",
            ),
            Panel(
                title="End to end, p99",
                queries={"p99": quantiles("moderation_end_to_end_duration_seconds")["p99"]},
                unit="s",
                kind=Kind.STAT,
                width=4,
            ),
            Panel(
                title="Dead letters in the last hour",
                queries={"dead letters": "sum(increase(moderation_dead_letters_total{@}[1h]))"},
                kind=Kind.STAT,
                width=4,
                nothing="none",
            ),
        ),
        "Flow": (
            Panel(
                title="Messages a second, read and written",
                queries={
                    f"from {{{{{TOPIC}}}}}": rate("messaging_client_consumed_messages_total", by=TOPIC),
                    f"to {{{{{TOPIC}}}}}": rate("messaging_client_sent_messages_total", by=TOPIC),
                },
            ),
            Panel(
                title="Backlog",
                queries={
                    f"{{{{{TOPIC}}}}} (known)": f"sum by ({TOPIC}) ({BACKLOG})",
                    "partitions unknown": UNKNOWN,
                },
            ),
            Panel(
                title="From message to verdict",
                queries=quantiles("moderation_end_to_end_duration_seconds"),
                unit="s",
            ),
        ),
        "Judgement": (
            Panel(
                title="Verdicts and alerts a second",
                queries={
                    "flagged: {{moderation_flagged}}": rate(VERDICTS, by="moderation_flagged"),
                    "alerts": rate("moderation_alerts_total"),
                },
            ),
            Panel(
                title="Flags a second, by category",
                queries={"{{moderation_category}}": rate("moderation_flags_total", by="moderation_category")},
                stacked=True,
            ),
            Panel(
                title="Dead letters a second, by reason",
                queries={"{{moderation_reason}}": rate("moderation_dead_letters_total", by="moderation_reason")},
                stacked=True,
            ),
        ),
        "Workers": (
            Panel(
                title="Workers",
                queries={
                    "answer": "sum(up{@})",
                    "have loaded the model": "count(moderation_model_info{@})",
                    "have partitions": "count(moderation_partitions{@} > 0)",
                },
            ),
            Panel(
                title="Partitions of each worker",
                queries={"{{instance}}": "sum by (instance) (moderation_partitions{@})"},
                stacked=True,
            ),
            Panel(
                title="Workers by model revision",
                queries={
                    " ".join(f"{{{{{label}}}}}" for label in MODEL): f"count by ({', '.join(MODEL)}) "
                    "(moderation_model_info{@})"
                },
                stacked=True,
            ),
        ),
    },
)

INTERNALS = Dashboard(
    name="internals",
    title="Worker internals",
    rows={
        "Batches": (
            heat("Records of a batch", "moderation_batch_records"),
            heat("Tokens of a batch", "moderation_batch_tokens"),
            Panel(title="Fill of a batch", queries=quantiles("moderation_batch_fill"), unit="percentunit"),
        ),
        "Time": (
            Panel(
                title="The oldest message waits for the device",
                queries=quantiles("moderation_batch_wait_seconds"),
                unit="s",
                width=6,
            ),
            Panel(
                title="Preparing a chunk",
                queries=quantiles("moderation_prepare_duration_seconds"),
                unit="s",
                width=6,
            ),
            Panel(
                title="Scoring a batch",
                queries=quantiles("moderation_score_duration_seconds"),
                unit="s",
                width=6,
            ),
            Panel(
                title="From poll to the end of the transaction",
                queries=quantiles("messaging_process_duration_seconds"),
                unit="s",
                width=6,
            ),
        ),
        "Device": (
            Panel(
                title="The device is busy",
                queries={"{{instance}}": rate("moderation_device_busy_seconds_total", by="instance")},
                unit="percentunit",
                width=6,
            ),
            Panel(
                title="Tokens a second",
                queries={
                    "scored": rate("moderation_device_tokens_total"),
                    "padding": rate("moderation_device_padding_total"),
                },
                width=6,
                stacked=True,
            ),
            Panel(
                title="Texts known before",
                queries={"of the texts to score": KNOWN},
                unit="percentunit",
                width=6,
            ),
            Panel(
                title="GPU memory",
                queries={"{{instance}}": "sum by (instance) (moderation_device_memory_bytes{@})"},
                unit="bytes",
                width=6,
            ),
        ),
        "Transactions": (
            Panel(
                title="Transactions a second",
                queries={"{{moderation_outcome}}": rate("moderation_transactions_total", by="moderation_outcome")},
            ),
            Panel(
                title="Outputs that were not committed, a second",
                queries={f"to {{{{{TOPIC}}}}}": rate("moderation_aborted_messages_total", by=TOPIC)},
            ),
            Panel(
                title="What went wrong in transactions, since the workers started",
                queries={
                    "{{moderation_event}}": "sum by (moderation_event) (moderation_transaction_events_total{@})"
                },
            ),
        ),
        "Kafka": (
            Panel(
                title="Calls to Kafka, p99",
                queries={
                    f"{{{{{OPERATION}}}}}": quantiles(OPERATIONS, by=OPERATION)[f"{{{{{OPERATION}}}}} p99"],
                },
                unit="s",
                width=6,
            ),
            Panel(
                title="Calls that failed or took another slice, a second",
                queries={
                    f"{{{{{OPERATION}}}}} {{{{error_type}}}}": rate(
                        f"{OPERATIONS}_count", by=f"{OPERATION}, error_type", where=', error_type!=""'
                    )
                },
                width=6,
            ),
            Panel(
                title="Changes of the assignment, since the workers started",
                queries={"{{moderation_change}}": "sum by (moderation_change) (moderation_rebalances_total{@})"},
                width=6,
            ),
            Panel(
                title="Records in memory",
                queries={"{{instance}}": "sum by (instance) (moderation_records_in_flight{@})"},
                width=6,
                stacked=True,
            ),
        ),
        "Processes": (
            Panel(
                title="Memory",
                queries={"{{instance}}": "sum by (instance) (process_resident_memory_bytes{@})"},
                unit="bytes",
            ),
            Panel(
                title="CPUs in use",
                queries={"{{instance}}": rate("process_cpu_seconds_total", by="instance")},
            ),
            Panel(
                title="Open files",
                queries={"{{instance}}": "sum by (instance) (process_open_fds{@})"},
            ),
        ),
    },
)

DASHBOARDS = (OVERVIEW, INTERNALS)


def promql(query: str) -> str:
    """A query of the tables as Grafana takes it."""
    return query.replace("{@", "{" + CHOSEN).replace("[@]", "[$__rate_interval]")


def text(dashboard: Dashboard) -> str:
    """The file."""
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
    # A job is chosen always: `up` and the process's own metrics are everybody's. Outside Kubernetes nothing has a
    # namespace, and a label that is not there matches `.*`.
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
            "refresh": 2,  # when the range of time changes: workers come and go
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
            place = {"x": x, "y": y + 1, "w": panel.width, "h": height}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            x += panel.width
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
                "legendFormat": legend,
                "range": panel.kind is not Kind.STAT,
                "instant": panel.kind is Kind.STAT,
                "format": "heatmap" if panel.kind is Kind.HEAT else "time_series",
            }
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def main() -> None:
    """Writes the files."""
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.name}.json").write_text(text(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
