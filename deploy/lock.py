#!/usr/bin/env python3
"""Write the lock files in deploy/: every version that `make` and the image install, for each Python and platform.

requirements.lock   what `make` installs, without PyTorch
runtime.lock        what the image holds, without PyTorch
build.lock          what builds the image: uv, the build backend, the tool that writes the SBOM
torch-cuda.lock     PyTorch from PyPI, with Triton and NVIDIA's libraries
torch-cpu.lock      PyTorch from the index of its CPU builds

Versions that still fit are kept; `make lock UPGRADE=1` takes the newest that pyproject.toml allows.

`uv export` does not replace this: it reads a uv.lock, which names the hosts of the registries.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
FULL, CUDA, CPU = (DEPLOY / f"{name}.lock" for name in ("requirements", "torch-cuda", "torch-cpu"))
HEADER = "# Made by `make lock`. Every package has hashes, and without them nothing is installed.\n"
NOT_RESOLVED = """\
# Made by `make lock` where the index of PyTorch's CPU builds could not be reached, so this one package has no
# hashes: the CPU builds share the version of PyPI's, and not its hashes. The next `make lock` that reaches the
# index adds them.
"""
BUILDS = re.compile(r"^(torch|triton|nvidia-|cuda-)")
BUILD_TOOLS = ("uv", "hatchling", "cyclonedx-bom")
HASHED = ("--universal", "--python-version", "3.11", "--generate-hashes", "--quiet")
BARE = ("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links")


def uv(*arguments: str | Path, given: str = "") -> str:
    """Return the output of `uv pip compile`.

    Raises:
        subprocess.CalledProcessError: uv could not resolve the requirements.
    """
    program = Path(sys.executable).with_name("uv")
    command = [program, "pip", "compile", *HASHED, *BARE, *arguments]
    return subprocess.run(  # noqa: S603 - the arguments are constants
        command, cwd=DEPLOY.parent, input=given, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def split(compiled: str) -> tuple[str, str]:
    """Split a lock: the packages that do not depend on PyTorch's build, and those that do."""
    blocks = re.split(r"\n(?=\S)", compiled.strip())
    of_build = [block for block in blocks if BUILDS.match(block)]
    others = [block for block in blocks if not BUILDS.match(block)]
    return HEADER + "\n".join(others) + "\n", HEADER + "\n".join(of_build) + "\n"


def requirements(lock: str) -> str:
    """Return a lock without its comments."""
    return re.sub(r"^#.*\n", "", lock, flags=re.MULTILINE)


def cpu_lock(version: str, before: str) -> str:
    """Return the lock of PyTorch's CPU builds; without hashes if their index is not reachable."""
    try:
        return HEADER + uv("-", "--no-deps", "--torch-backend", "cpu", given=f"torch=={version}")
    except subprocess.CalledProcessError:
        kept = f"torch=={version}" in before and "--hash" in before
        sys.stderr.write(
            "The index of PyTorch's CPU builds is not reachable: torch-cpu.lock "
            + ("stays as it is.\n" if kept else "has no hashes.\n")
        )
        return before if kept else f"{NOT_RESOLVED}torch=={version}\n"


def main() -> None:
    """Resolve with the present versions as preferences, then write each lock."""
    upgrade = ["--upgrade"] if sys.argv[1:] == ["--upgrade"] else []
    before = CPU.read_text() if CPU.exists() else ""
    with tempfile.TemporaryDirectory() as folder:
        # uv takes the present versions from the file of `--output-file`.
        known = Path(folder) / "known.txt"
        known.write_text("".join(requirements(lock.read_text()) for lock in (FULL, CUDA) if lock.exists()))
        uv(
            "pyproject.toml",
            "--extra",
            "broker",
            "--extra",
            "evaluate",
            "--group",
            "dev",
            *upgrade,
            "--output-file",
            known,
        )
        compiled = known.read_text()
        runtime = uv("pyproject.toml", "--constraints", known)
        build = uv("-", "--constraints", known, given="\n".join(BUILD_TOOLS))
    without_torch, torch = split(compiled)
    FULL.write_text(without_torch)
    CUDA.write_text(torch)
    (DEPLOY / "runtime.lock").write_text(split(runtime)[0])
    (DEPLOY / "build.lock").write_text(HEADER + build)
    found = re.search(r"^torch==([^\s;+]+)", torch, re.MULTILINE)
    assert found, "PyTorch is a dependency"  # noqa: S101 - otherwise pyproject.toml is wrong
    CPU.write_text(cpu_lock(found[1], before))


if __name__ == "__main__":
    main()
