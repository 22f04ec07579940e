"""`bench` as a user runs it, with the bundled model."""

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


def test_bench_measures_the_user_s_texts_and_says_what_limits(tmp_path: Path) -> None:
    texts, figures = tmp_path / "texts.jsonl", tmp_path / "figures.json"
    zebras = [f"zebra number {number}" for number in range(50)] * 3
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in zebras))
    done = bench("--seconds=1", f"--texts={texts}", f"--json={figures}")
    screen = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    for words in (
        "demo (revision",
        "texts: 150, 50 different",
        "decode and tokenise",
        "device, full batches ",
        "device, texts of 512 tokens",
        "device, texts of 4,608 tokens",
        "judge and encode",
        "WORKER_BATCH__TOKENS_MAX); a full batch has ",
        "all together",
    ):
        assert words in screen
    assert "\x1b" not in screen
    found = json.loads(figures.read_bytes())
    assert found["model"]["name"] == "demo"
    assert found["model"]["device"] == "cpu"
    measured = found["figures"]
    assert (measured["texts"], measured["texts_different"]) == (150, 50)
    assert all(rate["messages_per_s"] > 0 for rate in (*measured["stages"], measured["together"]))
    full, longest = measured["long_texts"]
    assert full["messages_per_s"] > longest["messages_per_s"] > 0
    assert found["limit"] in {*(stage["name"] for stage in measured["stages"]), "what the stages share", "unknown"}
    assert found["advice"] in screen
    assert "zebra" not in screen + figures.read_text()


def test_texts_that_cannot_be_read_are_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    done = bench(f"--texts={tmp_path / 'missing'}")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith("--texts: got ")
    assert done.stderr.decode().count("\n") == 1


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    done = bench(f"--json={tmp_path / 'missing' / 'figures.json'}")
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"{tmp_path / 'missing' / 'figures.json'} can't be written")
