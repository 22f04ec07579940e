"""What the benchmarks share: contenders in turn, the machine beside the figures, JSON, and bars.

A shared machine is noisy and drifts, so contenders run in turn within one process, round after round, and what is
reported is the median of each and the ratios of the medians. Absolute figures are this machine's, and only said.
"""

import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from worker.commands.bench.limits import figure
from worker.commands.bench.report import processor

RESULTS = Path(__file__).parent / "results"
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
PACKAGES = ("confluent-kafka", "numpy", "orjson", "tokenizers", "torch", "transformers")

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP = 1000, 330, 110, 18, 6
_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#17becf", "#bcbd22", "#d62728", "#e377c2")


def say(line: str) -> None:
    """Progress, for whoever waits."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def medians(
    contenders: Mapping[str, Callable[[], float]], *, rounds: int, tell: Callable[[str], None] = say
) -> dict[str, float]:
    """Lets each contender run once a round, in turn, and gives the median of what each returned.

    Each round begins with another: to come first, or after a certain one, may be worth some hundredths.
    """
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(1, rounds + 1):
        first = (number - 1) % len(names)
        for name in names[first:] + names[:first]:
            figures[name].append(contenders[name]())
            tell(f"round {number} of {rounds}: {name}: {figures[name][-1]:,.1f}")
    return {name: statistics.median(values) for name, values in figures.items()}


def machine() -> dict[str, Any]:
    """What the figures were measured on, and with."""
    return {
        "processor": processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def write(name: str, report: Mapping[str, Any]) -> None:
    """Writes ``results/NAME.json``, the machine in it."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **report}, indent=1) + "\n", encoding="utf-8")
    say(f"written: {path}")


def draw(name: str, title: str, groups: Mapping[str, Mapping[str, float]], *, unit: str) -> None:
    """Writes ``docs/pictures/NAME.svg``: a group of bars for each key, each bar with its figure.

    Args:
        name: Of the file.
        title: What is compared.
        groups: Of each group the bars; a bar's colour goes by its name.
        unit: Stands behind each figure.
    """
    names = list(dict.fromkeys(bar for bars in groups.values() for bar in bars))
    longest = max(value for bars in groups.values() for value in bars.values())
    lines: list[str] = []
    y = 50
    for group, bars in groups.items():
        lines.append(_text(20, y + 14, group, size=14))
        y += 24
        for bar, value in bars.items():
            width = (_WIDTH - _LEFT - _RIGHT) * value / longest
            colour = _COLOURS[names.index(bar) % len(_COLOURS)]
            lines.append(_text(_LEFT - 8, y + 14, bar, anchor="end"))
            lines.append(f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>')
            lines.append(_text(_LEFT + width + 6, y + 14, f"{figure(value)} {unit}"))
            y += _BAR + _GAP
        y += 10
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 10}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="white"/>',
        _text(20, 28, title, size=16),
    ]
    (PICTURES / f"{name}.svg").write_text("\n".join([*head, *lines, "</svg>"]) + "\n", encoding="utf-8")
    say(f"drawn: {PICTURES / name}.svg")


def ratios(figures: Mapping[str, float], *, to: str) -> dict[str, float]:
    """Each figure by that of one of them."""
    return {name: round(value / figures[to], 3) for name, value in figures.items()}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least such a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _text(x: float, y: float, words: str, *, size: int = 13, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" text-anchor="{anchor}">{escape(words)}</text>'
