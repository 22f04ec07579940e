"""Choose the device, the dtype and the threads, and report every fall-back."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from worker.errors import ModelError

# bfloat16 tensor cores came with Ampere. Older GPUs emulate bfloat16, which is slow.
# Source: the CUDA C++ Programming Guide, "Compute Capabilities".
BFLOAT16_CAPABILITY_MIN = (8, 0)

# The flags of a CPU that multiplies bfloat16 in hardware. Measured: bfloat16 is 4 to 5 times slower than float32
# without these flags, and faster with them. Float32 stays the default on every CPU, so that a mixed fleet agrees.
BFLOAT16_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the model runs.

    Attributes:
        device: The device, with its index when it is a GPU.
        dtype: Type of the weights and the arithmetic, including the score head.
        threads: Compute threads on the CPU.
        fallbacks: A sentence for each choice that would be different on another machine.
    """

    device: torch.device
    dtype: torch.dtype
    threads: int
    fallbacks: tuple[str, ...]


def choose_placement(*, device: str, dtype: str, threads: int | None) -> Placement:
    """Return where the model runs, by the settings and by what this machine has.

    Raises:
        ModelError: This machine does not have the named device.
    """
    chosen, fallbacks = _device(device)
    if dtype == "auto":
        fast = chosen.type == "cuda" and torch.cuda.get_device_capability(chosen) >= BFLOAT16_CAPABILITY_MIN
        precision = torch.bfloat16 if fast else torch.float32
    else:
        precision = DTYPES[dtype]
    if chosen.type == "cpu":
        fallbacks += _cpu_remarks(precision, cpu_flags())
    return Placement(
        device=chosen,
        dtype=precision,
        # One CPU is left to consuming, preparing and publishing, if there is more than one.
        threads=threads or max(1, cpus(os.sched_getaffinity(0)) - 1),
        fallbacks=fallbacks,
    )


def _device(name: str) -> tuple[torch.device, tuple[str, ...]]:
    if name == "cpu":
        return torch.device("cpu"), ()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto" and count == 0:
        return torch.device("cpu"), (
            "this machine has no CUDA device: the CPU does the work (WORKER_MODEL__DEVICE=auto)",
        )
    index = int(name.removeprefix("cuda:")) if ":" in name else 0
    if index >= count:
        raise ModelError(
            f"WORKER_MODEL__DEVICE is {name}, but torch {torch.__version__} sees {count} CUDA devices here "
            "(look at nvidia-smi and CUDA_VISIBLE_DEVICES). Name another device, or set it to auto or cpu."
        )
    return torch.device("cuda", index), ()


def _cpu_remarks(dtype: torch.dtype, flags: frozenset[str]) -> tuple[str, ...]:
    fast = bool(flags & BFLOAT16_CPU_FLAGS)
    if dtype == torch.float32 and fast:
        return ("float32, though this CPU is faster in bfloat16 (WORKER_MODEL__DTYPE=bfloat16)",)
    if dtype == torch.bfloat16 and not fast:
        return ("bfloat16, though this CPU is faster in float32 (WORKER_MODEL__DTYPE=float32)",)
    return ()


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the CPU flags that the kernel lists; empty when the file does not exist."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


def cpus(affinity: set[int], root: Path = Path("/")) -> int:
    """Return how many CPUs this process may use: the minimum of its affinity and the quotas of its cgroups.

    A fraction is rounded down: the quota would throttle one thread too many, and the other threads would wait for
    it.
    """
    groups = root / "proc/self/cgroup"
    quotas = [float(len(affinity))]
    for line in groups.read_text().splitlines() if groups.is_file() else []:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            top = root / "sys/fs/cgroup/cpu"
        else:
            continue
        here = top / path.lstrip("/")
        # In a container the path can be the host's. Only the top of the host's tree is visible then.
        quotas += [quota for folder in {here, *here.parents, top} if (quota := _quota(folder)) is not None]
    return max(1, int(min(quotas)))


def _quota(folder: Path) -> float | None:
    """Return the CPUs by ``cpu.max`` of cgroup v2 or the two files of v1; None without a limit."""
    two, one = folder / "cpu.max", folder / "cpu.cfs_quota_us"
    if two.is_file():
        quota, period = two.read_text().split()
    elif one.is_file():
        quota, period = one.read_text().strip(), (folder / "cpu.cfs_period_us").read_text().strip()
    else:
        return None
    return None if quota in {"max", "-1"} else int(quota) / int(period)
