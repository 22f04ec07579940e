"""The picture of a proof, by matplotlib. The worker runs without matplotlib."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.commands.prove.observers import Sample
from worker.commands.prove.plan import WORKERS_MAX, FaultKind
from worker.commands.prove.proof import Proof

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be searched
    "svg.hashsalt": "proof",  # the same numbers give the same file
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
BLUE, RED, GREEN = "#1f77b4", "#d62728", "#2ca02c"
COLOURS = {
    FaultKind.KILL: RED,
    FaultKind.TERM: BLUE,
    FaultKind.STOP: "#c5b000",
    FaultKind.STOP_SESSION: "#ff7f0e",
    FaultKind.STOP_ALL: "#8c564b",
    FaultKind.SCALE_UP: GREEN,
    FaultKind.SCALE_DOWN: "#17becf",
    FaultKind.SAME_IDS: "#9467bd",
    FaultKind.BROKER_KILL: "#000000",
    FaultKind.BROKER_RESTART: "#7f7f7f",
    FaultKind.QUOTA: "#e377c2",
    FaultKind.TRANSACTION: "#3949ab",
    FaultKind.RECREATE: "#808000",
}


def draw(proof: Proof, path: Path) -> None:
    """Draw the timeline: what was judged, what waited, how many workers ran, and each fault as a line.

    Args:
        proof: A proof with at least two samples.
        path: The file to write, as SVG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    # Imported here: the worker runs without matplotlib.
    from matplotlib import rc_context  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with rc_context(STYLE):
        figure = Figure(figsize=(11, 7), layout="constrained")
        judged, waiting, workers = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1.2))
        figure.suptitle(f"{proof.description}, seed {proof.seed}", fontsize=11)
        _curve(judged, "judged per second", _rates(proof.samples), BLUE)
        _curve(waiting, "waiting", [(one.at_ms, one.owed - one.judged) for one in proof.samples], RED)
        _curve(workers, "workers", [(one.at_ms, one.workers) for one in proof.samples], GREEN)
        workers.set_ylim(0, WORKERS_MAX)
        workers.plot(
            [at_ms / 1000 for at_ms in proof.assignments_ms],
            [0.3] * len(proof.assignments_ms),
            "|",
            color="#555555",
            label=f"a worker was given partitions ({len(proof.assignments_ms)})",
        )
        workers.set_xlabel("seconds")
        _mark_faults((judged, waiting, workers), proof)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _rates(samples: Sequence[Sample]) -> list[tuple[int, float]]:
    return [
        (late.at_ms, (late.judged - early.judged) * 1000 / (late.at_ms - early.at_ms))
        for early, late in pairwise(samples)
    ]


def _curve(axes: "Axes", title: str, points: Sequence[tuple[int, float]], colour: str) -> None:
    axes.plot([at_ms / 1000 for at_ms, _ in points], [value for _, value in points], color=colour, linewidth=1.3)
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlim(0, points[-1][0] / 1000)
    axes.set_ylim(bottom=0)


def _mark_faults(panels: "Sequence[Axes]", proof: Proof) -> None:
    """Draw a line for each fault in each panel, and a legend entry for each kind with its number."""
    for axes in panels:
        for number, one in enumerate(proof.faults, start=1):
            axes.axvline(
                one.at_ms / 1000,
                color=COLOURS[one.fault.kind],
                linewidth=1,
                linestyle="--",
                gid=f"fault-{number}",
            )
    for kind in FaultKind:
        count = sum(one.fault.kind is kind for one in proof.faults)
        panels[0].plot([], [], color=COLOURS[kind], linestyle="--", label=f"{kind} ({count})")
