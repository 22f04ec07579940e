"""The pictures of the docs, from the figures in ``results``: ``python -m tests.bench.pictures [NAME ...]``.

Each benchmark writes its figures as JSON and then calls ``draw``. To draw again takes no measurement.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deploy.dashboards.dashboards import DASHBOARDS
from tests.bench.side_by_side import RESULTS, say
from worker.commands.bench.limits import figure as rounded

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, so that a browser can search it
    "svg.hashsalt": "moderation-worker",  # without it every drawing has other ids
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
WIDTH_IN = 10
GRID_COLUMNS = 3

Report = Mapping[str, Any]


def cache(report: Report) -> Figure:
    """Show what the verdict cache saves, by its size."""
    rows = {
        _cache_size(row): {
            "texts found": 100 * row["hit_share"],
            "texts found by the ideal cache": 100 * row["ideal_hit_share"],
            "tokens saved": 100 * row["tokens_saved_share"],
            "tokens saved by the ideal cache": 100 * row["ideal_tokens_saved_share"],
        }
        for row in report["rows"]
    }
    return bars(f"What the verdict cache saves on {report['texts']:,} messages of a chat, by its size", rows, "%")


def classifier(report: Report) -> Figure:
    """Compare each way to ask the model with the model card's loop."""
    groups = {f"{name}, {row['log']}": row["ratios"] for name, rows in report["models"].items() for row in rows}
    return bars("Messages a second, as multiples of the model card's loop", groups, "x")


def latency(report: Report) -> Figure:
    """Show the latency of each load, and the delay that no design without partial batches avoids."""
    groups = {
        load["load"]: {
            **{name: load[name] for name in ("p50", "p90", "p99")},
            "twice a batch and a commit": load["bound"],
        }
        for load in report["loads"]
    }
    capacity = report["capacity_messages_per_second"]
    return bars(f"From sent to visible at read_committed, one worker of {capacity:,} messages/s", groups, "ms")


def pipeline(report: Report) -> Figure:
    """Compare the worker without a model with what users would write instead."""
    rates = {name: row["messages_per_s"] for name, row in report["contenders"].items()}
    title = f"Without the model: messages a second, {report['log']}, one Kafka on the same machine"
    return bars(title, {"consume, decode, tokenise, write, commit": rates}, "/s")


def scale(report: Report) -> Figure:
    """Show how throughput grows with the workers of a group."""
    title = f"Workers in one group, {report['partitions']} partitions, each worker bound by its own device"
    return bars(title, {"": report["messages_per_second"]}, "messages/s")


def dashboard(report: Report) -> Figure:
    """Draw the panels of a real run as a grid of curves, each with its legend below."""
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]] = report["panels"]
    units = {panel.title: panel.unit for board in DASHBOARDS for row in board.rows.values() for panel in row}
    rows = -(-len(panels) // GRID_COLUMNS)
    figure = Figure(figsize=(1.4 * WIDTH_IN, 2.9 * rows), layout="constrained")
    figure.suptitle(report["title"])
    for axes, (title, curves) in zip(
        figure.subplots(rows, GRID_COLUMNS, sharex=True).flat, panels.items(), strict=True
    ):
        for name, points in sorted(curves.items()):
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1)
        _start_at_zero(axes, title)
        axes.yaxis.set_major_formatter({"percentunit": "{x:.0%}", "s": "{x:g} s"}.get(units[title], "{x:,.6g}"))
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2, fontsize=7, frameon=False)
    return figure


def soak(report: Report) -> Figure:
    """Draw the memory of one worker over many messages."""
    figure = Figure(figsize=(WIDTH_IN, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*report["seconds_and_memory_mb"], strict=True), linewidth=1)
    _start_at_zero(axes, "Memory of a worker, MB")
    return figure


def bars(title: str, groups: Mapping[str, Mapping[str, float]], unit: str) -> Figure:
    """Draw horizontal bars, each with its figure.

    Args:
        title: What is compared.
        groups: The bars of each group. Bars of the same name have the same colour in every group.
        unit: Unit of the figures.
    """
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    counts = [len(group) for group in groups.values()]
    height_in = 0.5 + sum(0.45 + 0.22 * count for count in counts)
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    figure.suptitle(title)
    rows = figure.subplots(len(groups), sharex=True, squeeze=False, height_ratios=counts)[:, 0]
    for axes, (group, values) in zip(rows, groups.items(), strict=True):
        drawn = axes.barh(list(values), list(values.values()), color=[f"C{names.index(name)}" for name in values])
        axes.bar_label(drawn, [f"{rounded(value)} {unit}" for value in values.values()], padding=3)
        axes.set_title(group)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
    return figure


DRAWINGS: Mapping[str, Callable[[Report], Figure]] = {
    "bench-cache": cache,
    "bench-classifier": classifier,
    "bench-latency": latency,
    "bench-pipeline": pipeline,
    "bench-scale": scale,
    "dashboard": dashboard,
    "soak": soak,
}
"""How each picture is drawn, by the name of its file in ``docs/pictures``."""


def draw(name: str, folder: Path = PICTURES) -> Path:
    """Draw one picture from its stored report, byte for byte the same each time."""
    report = json.loads((RESULTS / f"{name.removeprefix('bench-')}.json").read_text(encoding="utf-8"))
    path = folder / f"{name}.svg"
    with rc_context(STYLE):
        DRAWINGS[name](report).savefig(path, metadata={"Date": None, "Creator": None})
    say(f"drawn: {path}")
    return path


def _start_at_zero(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter("{x:.0f} s")
    axes.grid(alpha=0.3)


def _cache_size(row: Mapping[str, Any]) -> str:
    if not row["entries_max"]:
        return "off (within a batch)"
    return f"{row['bytes_max'] / 1024**2:g} MiB, {row['entries_max']:,} texts"


def main() -> None:
    """Draw the pictures named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(DRAWINGS)}; default: all")
    for name in parser.parse_args().names or DRAWINGS:
        draw(name)


if __name__ == "__main__":
    main()
