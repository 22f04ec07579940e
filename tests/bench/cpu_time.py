"""CPU time of a benchmark's process and of its threads, from Linux' ``/proc``."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def cpu_seconds(stat: Path) -> float:
    """Return user and system seconds of a process or a thread, with Linux's resolution of a hundredth."""
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads_of(pid: int) -> dict[int, tuple[str, float]]:
    """Return each thread's name and CPU seconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {int(task.name): ((task / "comm").read_text(), cpu_seconds(task / "stat")) for task in tasks}


def by_thread(
    pid: int, threads: Mapping[int, tuple[str, float]], reported: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Return the worker's CPU seconds by the kind of work. Return nothing for a rival.

    Three threads may hold the interpreter's lock: the owner, the device and the preparer. The tokenizer releases
    the lock, so its time does not count. The owner also releases the lock inside librdkafka's calls, so the result
    is an upper bound.
    """
    last = reported[-1]
    if "preparer" not in last:
        return {}
    threads_of_worker = {pid: "owner", last["preparer"]: "preparer", last["device"]: "device"}
    found: dict[str, float] = defaultdict(float)
    for thread, (name, seconds) in threads.items():
        other = "librdkafka" if name.startswith("rdk:") else "tokenizer"
        found[threads_of_worker.get(thread, other)] += seconds
    found["owner"] -= reported[0]["ready_owner_cpu_s"]
    found["preparer"] -= reported[0]["ready_preparer_cpu_s"] + last["tokenising_ns"] / 1e9
    found["tokenizer"] += last["tokenising_ns"] / 1e9
    found["may hold the GIL"] = found["owner"] + found["preparer"] + found["device"]
    return dict(found)
