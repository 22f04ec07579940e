#!/usr/bin/env python3
"""Writes prometheusrule.yaml beside it, alerts.yaml as the Prometheus operator takes it."""

from pathlib import Path
from textwrap import indent

FOLDER = Path(__file__).parent
HEAD = """\
# Made by prometheusrule.py of alerts.yaml, where these rules are explained; the test compares the two.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: moderation-worker
  labels: {app.kubernetes.io/name: moderation-worker}
spec:
"""


def resource() -> str:
    """The file."""
    rules = (FOLDER / "alerts.yaml").read_text(encoding="utf-8")
    return HEAD + indent(rules[rules.index("groups:") :], "  ")


if __name__ == "__main__":
    (FOLDER / "prometheusrule.yaml").write_text(resource(), encoding="utf-8")
