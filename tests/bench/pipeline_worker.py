"""Run the worker with a model that answers immediately: ``python -m tests.bench.pipeline_worker TOKENIZER``.

Except for the model's arithmetic this is the worker that production runs: the session, the loop, its threads, and
the classifier's tokenizer. The worker writes a line of JSON to standard output when it tokenises the first chunk,
and then one line for each tokenised chunk. ``pipeline`` uses these lines to leave out the CPU time of the start-up,
with the tables of the plain view, and to divide the rest among the threads.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from schemas.labels import CATEGORY_SLUGS
from worker.classifier.tokenizer import EncodedText, TextEncoder
from worker.commands.prove.stub_model import StubModel, run_with_model
from worker.reported import DeviceUsage
from worker.scores import Scores
from worker.settings import Settings
from worker.watchdog import Watchdog

TOKENS_MAX = 512
PROBABILITY = 0.1
IDENTITY = replace(StubModel.identity, name="none")


class NullModel:
    """Tokenises as the classifier does, and immediately gives every text the same low scores."""

    identity = IDENTITY
    batch_tokens_max = 16_384
    usage = DeviceUsage()
    fallbacks = ("no model: every probability is the same, to measure all the rest",)

    def __init__(self, tokenizer: Path) -> None:
        self._encoder = self.long_texts = TextEncoder(
            tokenizer.read_text(encoding="utf-8"), tokens_max=TOKENS_MAX, truncation_side="right"
        )
        self._tokenising_ns = 0
        self._is_ready = False
        self._device = 0

    def encode(self, texts: Sequence[str]) -> Sequence[EncodedText]:
        """Return the tokens of each text."""
        if not self._is_ready:
            self._is_ready = True
            owner = time.clock_gettime(time.pthread_getcpuclockid(threading.main_thread().ident or 0))
            of_threads = {"ready_owner_cpu_s": owner, "ready_preparer_cpu_s": time.thread_time()}
            tell({"ready_cpu_s": time.process_time(), **of_threads})
        began_ns = time.thread_time_ns()
        encoded = self._encoder.encode(texts)
        self._tokenising_ns += time.thread_time_ns() - began_ns
        tell({"preparer": threading.get_native_id(), "device": self._device, "tokenising_ns": self._tokenising_ns})
        return encoded

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores]:
        """Return the same scores for every text."""
        self._device = threading.get_native_id()
        return list(np.full((len(token_lists), len(CATEGORY_SLUGS)), PROBABILITY, np.float32))


def tell(line: dict[str, object]) -> None:
    """Write a line to the process that started this one."""
    os.write(1, json.dumps(line).encode() + b"\n")


def main() -> None:
    """Run the worker as the command ``run`` does."""
    run_with_model(Watchdog(), partial(_open, Path(sys.argv[1])))


def _open(tokenizer: Path, _settings: Settings, _say: Callable[[str], None]) -> NullModel:
    return NullModel(tokenizer)


if __name__ == "__main__":
    main()
