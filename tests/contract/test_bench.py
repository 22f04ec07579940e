"""`bench` as a user runs it, on the bundled model."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def bench(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    bare = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
    return subprocess.run(
        [sys.executable, "-m", "worker", "bench", *arguments],
        cwd=ROOT,
        env=bare | {"WORKER_MODEL__PATH": "demo", "WORKER_MODEL__THREADS": "1"},
        capture_output=True,
        check=False,
        timeout=120,
    )


def test_it_measures_one_s_own_texts_and_says_what_limits(tmp_path: Path) -> None:
    texts, figures = tmp_path / "texts.jsonl", tmp_path / "figures.json"
    words = [f"zebra number {number}" for number in range(50)] * 3
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in words))
    done = bench("--seconds=1", f"--texts={texts}", f"--json={figures}")
    screen = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    for said in ("demo (revision", "texts: 150, 50 different", "tokenise", "1 message ", "all at once", "limit"):
        assert said in screen
    assert "\x1b" not in screen
    found = json.loads(figures.read_bytes())
    assert found["model"]["name"] == "demo"
    assert found["model"]["device"] == "cpu"
    assert found["machine"]["cpus"] >= 1
    assert found["machine"]["packages"].keys() >= {"torch", "transformers"}
    assert found["settings"]["WORKER_MODEL__THREADS"] == "1"
    assert found["texts"]["repeated"] == 1 - 50 / 150
    assert [row["name"] for row in found["stages"]] == ["tokenise", "decode and tokenise", "judge and encode"]
    rates = [row["messages_per_s"] for row in (*found["stages"], *found["device"])]
    assert all(rate > 0 for rate in (*rates, found["whole_messages_per_s"]))
    assert found["limit"]["what"]
    assert found["limit"]["said"][0] in screen
    assert "zebra" not in screen + figures.read_text()


def test_texts_that_can_not_be_read_are_a_wrong_setting_said_before_the_model_is_loaded(tmp_path: Path) -> None:
    done = bench(f"--texts={tmp_path / 'missing'}")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith("--texts: got ")
    assert done.stderr.decode().count("\n") == 1


def test_so_is_a_file_that_can_not_take_the_figures(tmp_path: Path) -> None:
    done = bench(f"--json={tmp_path / 'missing' / 'figures.json'}")
    assert done.returncode == 2
    assert done.stderr.decode().startswith("--json: got ")


def test_so_is_a_time_that_is_none() -> None:
    done = bench("--seconds=0")
    assert done.returncode == 2
    assert "wants a whole number from 1 to 3600" in done.stderr.decode()
