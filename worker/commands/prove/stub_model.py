"""A worker with a stub model: ``python -m worker.commands.prove.stub_model``.

A proof is about delivery, in which the model has no part. Everything else is the real worker: its session, its
loop, its threads. With the stub a worker starts in one second instead of ten, so there is time for more faults. The
stub is busy for a while with each batch, so that faults find a batch on the device.
"""

import os
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from schemas.labels import CATEGORY_SLUGS
from worker.errors import ExitCode, FatalError
from worker.logs import setup_logging
from worker.loop_wiring import open_input_ends
from worker.reported import DeviceUsage, ModelIdentity
from worker.running import run
from worker.scores import Scores
from worker.settings import Need, Settings, load_settings
from worker.watchdog import Watchdog
from worker.wiring import OpenModel

TOKENS_MAX = 64
BATCH_TOKENS_MAX = 16_384
BATCH_S = 0.02
FLAGGED_ONE_IN = 10


@dataclass(frozen=True, slots=True)
class ByteTokens:
    """The first bytes of a text as its tokens."""

    tokens: Sequence[int]
    truncated: bool


class StubModel:
    """Scores by a checksum of the text: equal texts have equal scores, and one text in ten is flagged."""

    identity = ModelIdentity(
        name="stub",
        revision="0" * 16,
        digest="0" * 64,
        commit=None,
        dtype="float32",
        device="none",
        attention="none",
        tokenizer="none",
        threads=0,
    )
    batch_tokens_max = BATCH_TOKENS_MAX
    usage = DeviceUsage()
    long_texts = None
    fallbacks = ("no model: a stub scores by a checksum, for a proof of the delivery alone",)

    def encode(self, texts: Sequence[str]) -> Sequence[ByteTokens]:
        """Return the first bytes of each text."""
        return [ByteTokens(list(text.encode()[:TOKENS_MAX]), len(text.encode()) > TOKENS_MAX) for text in texts]

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores]:
        """Wait for as long as a device would take, and return the scores."""
        time.sleep(BATCH_S)
        return [np.full(len(CATEGORY_SLUGS), flagged(bytes(tokens)), np.float32) for tokens in token_lists]


def flagged(text: bytes) -> bool:
    """Return whether the stub flags a text."""
    return zlib.crc32(text) % FLAGGED_ONE_IN == 0


def run_with_model(watchdog: Watchdog, open_model: OpenModel, *, until_end: bool = False) -> None:
    """Do what the command ``run`` does, with another model instead of the classifier.

    Args:
        watchdog: Receives the signals.
        open_model: Returns the model.
        until_end: Whether ``run`` has the option ``--until-end``.
    """
    watchdog.start()
    try:
        loaded = load_settings(os.environ, {Need.KAFKA})
        setup_logging(loaded.settings.log.level, loaded.settings.log.format, sys.stderr)
        run(loaded, watchdog, open_model, open_input_ends(loaded.settings) if until_end else None)
    except FatalError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for people
        sys.exit(error.exit_code)


def _open(_settings: Settings, _say: Callable[[str], None]) -> StubModel:
    return StubModel()


if __name__ == "__main__":
    ends = sys.argv[1:] == ["--until-end"]
    run_with_model(Watchdog(signal_code=ExitCode.OTHER if ends else ExitCode.DONE), _open, until_end=ends)
