"""Shared parts of the benchmarks: contenders run in turn, figures are stored with the machine that made them.

A shared machine is noisy and its speed drifts. So contenders run in turn within one process, round after round. The
report has the median of each contender and the ratios of the medians. Absolute figures hold for one machine only.
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

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("confluent-kafka", "numpy", "orjson", "tokenizers", "torch", "transformers")


def say(line: str) -> None:
    """Write a line of progress to standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def medians(
    contenders: Mapping[str, Callable[[], float]], *, rounds: int, tell: Callable[[str], None] = say
) -> dict[str, float]:
    """Run each contender once a round, in turn, and return the median of each contender's figures.

    Each round begins with another contender, because the first place, or the place after a certain contender, can
    change a figure by a few hundredths.
    """
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(1, rounds + 1):
        first = (number - 1) % len(names)
        for name in names[first:] + names[:first]:
            figures[name].append(contenders[name]())
            tell(f"round {number} of {rounds}: {name}: {figures[name][-1]:,.1f}")
    return {name: statistics.median(values) for name, values in figures.items()}


def processor() -> str:
    """Return the processor's name, from Linux, or from Python on other systems."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def machine() -> dict[str, Any]:
    """Describe the machine and the packages of this measurement."""
    return {
        "processor": processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def write(name: str, report: Mapping[str, Any]) -> None:
    """Write ``results/NAME.json``, with a description of the machine."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **report}, indent=1) + "\n", encoding="utf-8")
    say(f"written: {path}")


def ratios(figures: Mapping[str, float], *, to: str) -> dict[str, float]:
    """Return each figure divided by the figure of one contender."""
    return {name: round(value / figures[to], 3) for name, value in figures.items()}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
