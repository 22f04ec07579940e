#!/usr/bin/env python3
"""Writes deploy/requirements.lock: every version that `make` installs, for each Python and platform.

Versions that still fit are kept; `make lock UPGRADE=1` takes the newest that pyproject.toml allows.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "deploy" / "requirements.lock"
HEADER = """\
# Made by `make lock`. uv checks each hash that stands here. torch and the NVIDIA and triton wheels that come
# with it have none: their CPU and CUDA builds share a version and come from different indexes.
"""
BUILDS = re.compile(r"^(torch|triton|nvidia-|cuda-)")
COMPILE = [
    *("pip", "compile", "pyproject.toml", "--extra", "broker", "--group", "dev"),
    *("--universal", "--python-version", "3.11", "--generate-hashes"),
    *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--quiet"),
]


def without_build_hashes(compiled: str) -> str:
    """Keeps each requirement; leaves out the hash lines of those whose builds differ by index."""
    requirements = re.split(r"\n(?=\S)", compiled.strip())
    kept = [line.split(" \\\n")[0] if BUILDS.match(line) else line for line in requirements]
    return HEADER + "\n".join(kept) + "\n"


def main() -> None:
    """Resolves with the pins of the present lock as preferences, then writes the new one."""
    uv = Path(sys.executable).with_name("uv")
    upgrade = ["--upgrade"] if sys.argv[1:] == ["--upgrade"] else []
    # `--output-file` is how uv learns of the present pins; it writes comments away, so ours come after.
    subprocess.run([uv, *COMPILE, *upgrade, "--output-file", LOCK], cwd=ROOT, check=True)  # noqa: S603 - our own words
    LOCK.write_text(without_build_hashes(LOCK.read_text()))


if __name__ == "__main__":
    main()
