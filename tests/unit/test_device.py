"""The number of CPUs by affinity and cgroup, and the sentences about the choice of a device."""

import os
from pathlib import Path

import pytest

from worker.classifier.device import choose_placement, cpu_flags, cpus


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


GROUPS = {
    "no cgroup": ({}, 8),
    "v2, no limit": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
    "v2 in a container": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "350000 100000\n"}, 3),
    "v2, less than one": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
    "v2, the limit is an ancestor's": (
        {
            "proc/self/cgroup": "0::/pods/worker\n",
            "sys/fs/cgroup/pods/worker/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pods/cpu.max": "200000 100000\n",
        },
        2,
    ),
    "v2, the path is the host's": (
        {"proc/self/cgroup": "0::/kubepods/x\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"},
        4,
    ),
    "v1": (
        {
            "proc/self/cgroup": "5:memory:/\n4:cpu,cpuacct:/docker/x\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        2,
    ),
    "v1, no limit": (
        {
            "proc/self/cgroup": "4:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        8,
    ),
    "more than the affinity": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "9900000 100000\n"}, 8),
}


@pytest.mark.parametrize(("files", "wanted"), GROUPS.values(), ids=GROUPS.keys())
def test_the_cgroup_limits_the_number_of_cpus(tmp_path: Path, files: dict[str, str], wanted: int) -> None:
    assert cpus(set(range(8)), tree(tmp_path, files)) == wanted


def test_one_cpu_is_left_to_the_other_threads_if_there_is_more_than_one() -> None:
    here = cpus(os.sched_getaffinity(0))
    assert choose_placement(device="cpu", dtype="float32", threads=None).threads == (here - 1 or 1)


def test_the_wanted_number_of_threads_is_used() -> None:
    assert choose_placement(device="cpu", dtype="float32", threads=3).threads == 3


def test_a_cpu_chosen_in_the_settings_is_not_a_fallback() -> None:
    assert not [
        line for line in choose_placement(device="cpu", dtype="float32", threads=1).fallbacks if "DEVICE" in line
    ]


def test_the_slower_dtype_of_this_cpu_gives_a_remark() -> None:
    lines = [choose_placement(device="cpu", dtype=dtype, threads=1).fallbacks for dtype in ("float32", "bfloat16")]
    remarks = [line for (line,) in filter(None, lines)]
    assert len(remarks) == 1
    assert "WORKER_MODEL__DTYPE" in remarks[0]


def test_cpu_flags_are_read_from_the_kernel(tmp_path: Path) -> None:
    tree(tmp_path, {"cpuinfo": "processor : 0\nflags\t\t: fpu avx512_bf16\n\nprocessor : 1\nflags\t\t: fpu\n"})
    assert cpu_flags(tmp_path / "cpuinfo") >= {"fpu", "avx512_bf16"}
    assert cpu_flags(tmp_path / "none") == frozenset()
