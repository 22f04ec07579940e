#!/usr/bin/env python3
"""Install the worker and its tools into .venv, with the standard library only. `make` does this first.

A stamp in .venv says what was installed, so a second run does nothing. When the locks, the dependencies, the
Python, the folder or the choice of TORCH changed, .venv is made again. It then holds exactly what the locks name.

`uv sync` does not fit: it needs a uv.lock, which names the hosts of the registries, and one lock for both builds of
PyTorch must name the index of the CPU builds in pyproject.toml. `uv pip sync` adds nothing: .venv is always new, so
there is nothing to remove.
"""
# ruff: noqa: T201, S603 - a person reads what this prints; the commands that it runs are its own words

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "deploy" / "requirements.lock"
TORCH_LOCKS = {build: ROOT / "deploy" / f"torch-{build}.lock" for build in ("cpu", "cuda")}
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
STAMP = VENV / "installed"

UV_INSTALL = [str(UV), "pip", "install"]
# The locks name every package, so uv resolves nothing. The project is built with the installed build backend.
LOCKED = ["--quiet", "--no-deps", "--requirements", str(LOCK), "--requirements"]
PROJECT = ["--quiet", "--no-deps", "--no-build-isolation", "--editable", "."]
CPU_BUILD = "--torch-backend=cpu"

GB = 1_000_000_000
ROOM_BYTES = {"cpu": 3 * GB, "cuda": 7 * GB}  # .venv takes 6.0 GB with the CUDA build; the rest is a reserve
CPU_INDEX_WAIT_S = 15


class RefusalError(Exception):
    """A person must act first; the message says how. .venv has no stamp then, so the next run starts again."""


def wanted() -> str:
    """Return a digest of everything that decides what .venv holds, except PyTorch's build."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tables = [project["build-system"], project["project"], project["dependency-groups"]]
    locks = [lock.read_text() for lock in (LOCK, *TORCH_LOCKS.values())]
    return hashlib.sha256(repr([tables, locks, str(ROOT), sys.version_info]).encode()).hexdigest()


def is_installed(digest: str, torch: str) -> bool:
    """Return whether .venv already holds what this run would install."""
    if not (PYTHON.exists() and STAMP.exists()):
        return False
    found, build = STAMP.read_text().split()
    return found == digest and torch in {"auto", build}


def size_bytes(folder: Path) -> int:
    """Return the bytes that the files take on the disk; a file with several links counts once."""
    stats = [path.lstat() for path in folder.rglob("*")] if folder.exists() else []
    return sum({(stat.st_dev, stat.st_ino): stat.st_blocks * 512 for stat in stats}.values())


def readable(size: int) -> str:
    """Return the size as text, such as ``5.5 GB`` or ``38 MB``."""
    return f"{size / GB:.1f} GB" if size >= GB else f"{size / 1_000_000:.0f} MB"


def step(title: str, command: list[str], environment: dict[str, str]) -> None:
    """Run a command; print its title, how much it added to .venv, and how long it took.

    Raises:
        RefusalError: The command failed; the message has the end of its output.
    """
    started_s, free_bytes = time.monotonic(), shutil.disk_usage(ROOT).free
    before_bytes = 0 if "--clear" in command else size_bytes(VENV)
    live = sys.stdout.isatty()
    print(f"{title} ...", end="", flush=True)
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
        while process.poll() is None:
            try:
                process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                written = readable(max(0, free_bytes - shutil.disk_usage(ROOT).free))
                took_s = time.monotonic() - started_s
                print(f"\r{title} ... {written} so far, {took_s:.0f} s " if live else "", end="", flush=True)
        said.seek(0)
        lines = said.read().strip().splitlines()
    if process.returncode:
        full = any("No space left on device" in line for line in lines)
        remedy = "The disk is full: free some" if full else "Correct the error above"
        raise RefusalError("\n".join(["", *lines[-15:], f"{remedy}, then run this again."]))
    added, took_s = size_bytes(VENV) - before_bytes, time.monotonic() - started_s
    start, end = (f"\r{title} ...", " " * 20) if live else ("", "")
    print(f"{start} {readable(added)}, {took_s:.1f} s{end}", flush=True)


def output(command: list[str], environment: dict[str, str]) -> str:
    """Return the output of a command that should not fail."""
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def environment_for_uv() -> dict[str, str]:
    """Return an environment in which uv uses pip's index and certificate; uv's own settings win."""
    listed = output([str(PYTHON), "-m", "pip", "config", "list"], {**os.environ})
    pips: dict[str, str] = {}
    for section in ("global", "install", ":env:"):  # a later section wins, as in pip
        pips.update(re.findall(rf"^{section}\.(index-url|cert)='(.*)'$", listed, re.MULTILINE))
    environment = {**os.environ, "UV_PYTHON": str(PYTHON)}
    if "index-url" in pips and "UV_INDEX_URL" not in environment:
        environment.setdefault("UV_DEFAULT_INDEX", pips["index-url"])
    if "cert" in pips:
        environment.setdefault("SSL_CERT_FILE", pips["cert"])
    return environment


def check_target(environment: dict[str, str]) -> None:
    """Check that uv would install into .venv. Every environment has pip, so uv can say where it finds pip.

    uv keeps what it knows of an interpreter in its cache, by the path. If uv has once met .venv/bin/python without
    pyvenv.cfg, as in an incomplete .venv, it would later install into the Python from which .venv was made. Only an
    install with `--refresh` makes uv look again.

    Raises:
        RefusalError: uv would install into another Python.
    """
    refresh = [*UV_INSTALL, "--quiet", "--dry-run", "--no-index", "--no-deps", "--refresh", "pip"]
    subprocess.run(refresh, env=environment, capture_output=True, check=False)
    shown = subprocess.run(
        [str(UV), "pip", "show", "pip"], env=environment, capture_output=True, text=True, check=False
    )
    found = re.search("^Location: (.*)$", shown.stdout, re.MULTILINE)
    if found is None or VENV.resolve() not in Path(found[1]).resolve().parents:
        target = found[1] if found else shown.stderr.strip()
        raise RefusalError(
            f"uv would install into {target}, not into {VENV}: unset the variables UV_*, delete .venv and the "
            "folder that `uv cache dir` names, then run this again."
        )


def locked(package: str, lock: Path = LOCK) -> str:
    """Return one package's requirement from a lock, with its hashes."""
    found = re.search(rf"^{package}==.*(\n    --hash.*)*", lock.read_text(), re.MULTILINE)
    assert found, f"{package} is not in {lock.name}: `make lock` writes it"  # noqa: S101 - an error of this repository
    return found.group()


def from_locks(build: str) -> list[str]:
    """Return uv's arguments for all packages of the locks. uv refuses a package without a hash.

    The only exception is PyTorch's CPU build while its lock has no hashes. uv then checks the hashes of the others.
    """
    lock = TORCH_LOCKS[build]
    arguments = [*LOCKED, str(lock)]
    if build == "cpu":
        arguments.append(CPU_BUILD)
    return [*arguments, "--require-hashes"] if "--hash" in lock.read_text() else arguments


def cpu_index_answers(environment: dict[str, str]) -> bool:
    """Return whether the index of PyTorch's CPU builds offers the locked version; uv knows its address."""
    version = locked("torch", TORCH_LOCKS["cpu"]).split()[0]
    ask = [*UV_INSTALL, "--dry-run", "--no-deps", CPU_BUILD, version]
    impatient = {**environment, "UV_HTTP_TIMEOUT": "5", "UV_HTTP_RETRIES": "0"}
    try:
        subprocess.run(ask, env=impatient, capture_output=True, check=True, timeout=CPU_INDEX_WAIT_S)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return False
    return True


def has_nvidia_driver() -> bool:
    """Return whether CUDA could work: with the kernel's driver, or with the driver of Windows in WSL."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def build_for(torch: str, environment: dict[str, str]) -> str:
    """Choose PyTorch's build: ``cpu``, or ``cuda``, the one on PyPI (on macOS that one is for the CPU too).

    Raises:
        RefusalError: TORCH=cpu was requested and its index is not reachable.
    """
    if torch == "cuda":
        return "cuda"
    decided = sys.platform != "linux" or has_nvidia_driver() or "UV_TORCH_BACKEND" in environment
    if torch == "auto" and decided:
        return "cuda"
    if cpu_index_answers(environment):
        return "cpu"
    unreachable = "the index of PyTorch's CPU builds is not reachable from here"
    instead = "PyPI's CUDA build: 5.5 GB installed, and it runs on CPUs too"
    if torch == "cpu":
        raise RefusalError(f"TORCH=cpu: {unreachable}. TORCH=cuda installs {instead}.")
    print(f"This machine has no NVIDIA driver, but {unreachable}.\nSo this installs {instead}.")
    return "cuda"


def need_room(build: str, environment: dict[str, str]) -> None:
    """Check the free disk space before the long step. uv links files from its cache instead of copying them.

    Raises:
        RefusalError: The disk has too little free space.
    """
    cache = Path(output([str(UV), "cache", "dir"], environment).strip())
    cache.mkdir(parents=True, exist_ok=True)
    needed = ROOM_BYTES[build] if sys.platform == "linux" else ROOM_BYTES["cpu"]
    one_disk = cache.stat().st_dev == VENV.stat().st_dev
    for folder, had in ((VENV, size_bytes(cache) if one_disk else 0), (cache, size_bytes(cache))):
        free = shutil.disk_usage(folder).free
        if free + had < needed:
            raise RefusalError(
                f"{folder} needs {readable(needed)} and {readable(free)} are free there: free some, or set "
                "UV_CACHE_DIR to a folder on a larger disk, or try TORCH=cpu, which needs "
                f"{readable(ROOM_BYTES['cpu'])}."
            )


def install(torch: str) -> None:
    """Install what the locks name into .venv, in four printed steps; do nothing if it is already there.

    Raises:
        RefusalError: A person must act first.
    """
    digest = wanted()
    if is_installed(digest, torch):
        return
    if importlib.util.find_spec("ensurepip") is None:
        raise RefusalError(
            f"{sys.executable} has no ensurepip, so it can't make an environment. On Debian and Ubuntu "
            "run `apt-get install python3-venv`; or name another Python: make PYTHON=/path/to/it ..."
        )
    make_venv = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    step("[1/4] A Python environment in .venv", make_venv, {**os.environ})
    pinned = VENV / "uv.txt"
    pinned.write_text(locked("uv") + "\n")
    install_uv = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
    install_uv += ["--require-hashes", "-r", str(pinned)]
    step("[2/4] uv, which installs the rest", install_uv, {**os.environ})
    environment = environment_for_uv()
    check_target(environment)
    build = build_for(torch, environment)
    need_room(build, environment)
    install_all = [*UV_INSTALL, *from_locks(build)]
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        install_all.append("--compile-bytecode")  # or each start would compile torch and transformers anew: 5 s
    step("[3/4] PyTorch, the other packages and the tools", install_all, environment)
    step("[4/4] The worker", [*UV_INSTALL, *PROJECT], environment)
    STAMP.write_text(f"{digest} {build}\n")


def main() -> int:
    """Install; the only argument is TORCH: ``auto``, ``cpu`` or ``cuda``."""
    torch = sys.argv[1] if sys.argv[1:] else "auto"
    if torch not in {"auto", "cpu", "cuda"}:
        print(f"TORCH must be auto, cpu or cuda, not {torch}.", file=sys.stderr)
        return 1
    try:
        install(torch)
    except RefusalError as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
