"""Run all benchmarks except the GPU's, one after the other: ``make bench``; twenty minutes, alone on the machine.

Without LOGS and TOKENIZER they run on a synthetic chat with the bundled model's tokenizer. The committed results
come from public logs and Qwen2's tokenizer (docs/performance.md). So compare only ratios without these.
"""

import argparse
import gzip
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson

from tests.bench.side_by_side import say
from worker.classifier.model_files import DEMO_MODEL
from worker.commands.bench.texts import built_in_texts

MADE_UP_MESSAGES = 50_000


def made_up(path: Path) -> Path:
    """Write a log of built-in texts that repeat as chat does: text number n is n times as rare as the first."""
    chance = random.Random(0)  # noqa: S311 - the same log every time
    texts = built_in_texts()
    chance.shuffle(texts)
    weights = [1 / rank for rank in range(1, len(texts) + 1)]
    with gzip.open(path, "wb") as lines:
        for text in chance.choices(texts, weights, k=MADE_UP_MESSAGES):
            lines.write(orjson.dumps({"text": text}) + b"\n")
    return path


def main() -> None:
    """Run the benchmarks in subprocesses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path, nargs="*", help="JSON lines with text, gzipped or not")
    parser.add_argument("--tokenizer", type=Path, default=DEMO_MODEL, help="a folder with tokenizer.json")
    parser.add_argument("--quix", help="a Python with quixstreams 3.28, orjson and tokenizers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        logs = options.logs or [made_up(Path(folder) / "made-up.jsonl.gz")]
        tokenizer = str(options.tokenizer / "tokenizer.json")
        first = str(logs[0])
        for name, *arguments in (
            ("classifier", str(options.tokenizer), *map(str, logs)),
            ("pipeline", first, "--tokenizer", tokenizer, *(["--quix", options.quix] if options.quix else [])),
            ("latency",),
            ("scale",),
            ("cache", first, "--tokenizer", tokenizer),
            ("telemetry", first, "--tokenizer", tokenizer),
        ):
            say(f"---- {name}")
            subprocess.run([sys.executable, "-m", f"tests.bench.{name}", *arguments], check=True)


if __name__ == "__main__":
    main()
