"""tests/gpu in a process that can import torch, transformers, numpy and pytest, and no other third-party package.

A GPU machine may have no more than that. Here the same tests run on the CPU, so that they don't rot.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = (
    "orjson",
    "confluent_kafka",
    "opentelemetry",
    "pydantic",
    "hypothesis",
    "rich",
    "worker.loop",
    "tests.kafka_env",
)


def run_without_the_project(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Plug-ins of pytest are blocked too, so pytest must not look for them.
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, "-m", "tests.gpu.alone", *arguments],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_other_packages_cannot_be_imported() -> None:
    look = "import importlib.util as u, sys; from tests.gpu.alone import block; block()\n"
    look += "for name in sys.argv[1:]:\n"
    look += "    try: print(name, __import__(name))\n"
    look += "    except ModuleNotFoundError: pass\n"
    ran = subprocess.run(
        [sys.executable, "-c", look, *FORBIDDEN], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.slow
def test_the_tests_for_a_gpu_pass_on_the_cpu_and_skip_only_what_needs_cuda() -> None:
    ran = run_without_the_project("pytest", "tests/gpu")
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    assert re.search(r"^\d{2,} passed|\b\d{2,} passed", ran.stdout)
    skipped = re.findall(r"^SKIPPED .*", ran.stdout, re.MULTILINE)
    assert skipped
    assert all(line.endswith("needs CUDA") for line in skipped), skipped


@pytest.mark.slow
def test_the_benchmark_for_a_gpu_runs_on_the_cpu_and_writes_its_results(tmp_path: Path) -> None:
    result = tmp_path / "figures.json"
    few = ("--models", "DuoGuard-0.5B", "--layers", "1", "--means", "10", "--batches", "8")
    ran = run_without_the_project("tests.gpu.bench", str(result), "--device", "cpu", *few)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(result.read_text())
    [row] = report["models"]["DuoGuard-0.5B"]
    assert (row["texts"], row["mean_tokens"]) == (8, 10)
    assert row["messages_per_second"]["eager"] > 0
    assert report["machine"]["torch"]
    assert "8 texts of 10 tokens" in ran.stdout


def test_the_benchmark_says_that_a_machine_has_no_cuda() -> None:
    ran = run_without_the_project("tests.gpu.bench")
    assert ran.returncode == 1
    assert "no CUDA device" in ran.stderr
