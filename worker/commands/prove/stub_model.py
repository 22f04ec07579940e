"""A worker with a stand-in for the model: ``python -m worker.commands.prove.stub_model``.

What a proof is about is the delivery, in which the model has no part. Everything else is the very worker: the
session, the loop, its threads. The stand-in starts in a second instead of ten, so that there is time for more
faults, and it is busy for a while with each batch, so that a fault finds work on the device.
"""

import os
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from schemas.labels import CATEGORY_SLUGS
from worker.errors import FatalError
from worker.logs import setup_logging
from worker.records import DeviceUsage, ModelIdentity, Scores
from worker.running import run
from worker.settings import Need, Settings, load_settings
from worker.watchdog import Watchdog
from worker.wiring import OpenModel

TOKENS_MAX = 64
BATCH_TOKENS_MAX = 16_384
BATCH_S = 0.02
FLAGGED_ONE_IN = 10


@dataclass(frozen=True, slots=True)
class ByteTokens:
    """A text as its first bytes."""

    tokens: Sequence[int]
    truncated: bool


class StubModel:
    """Scores by a checksum of the text: the same text has the same verdict, and one in ten is flagged."""

    identity = ModelIdentity(
        name="stand-in",
        revision="0" * 16,
        digest="0" * 64,
        commit=None,
        dtype="float32",
        device="none",
        attention="none",
        threads=0,
    )
    batch_tokens_max = BATCH_TOKENS_MAX
    usage = DeviceUsage()
    fallbacks = ("no model: a stand-in judges by a checksum, for a proof of the delivery alone",)

    def encode(self, texts: Sequence[str]) -> Sequence[ByteTokens]:
        """Return the first bytes of each text."""
        return [ByteTokens(list(text.encode()[:TOKENS_MAX]), len(text.encode()) > TOKENS_MAX) for text in texts]

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores]:
        """Busy for as long as a device would be."""
        time.sleep(BATCH_S)
        return [np.full(len(CATEGORY_SLUGS), flagged(bytes(tokens)), np.float32) for tokens in token_lists]


def flagged(text: bytes) -> bool:
    """Whether the stand-in finds a text unsafe."""
    return zlib.crc32(text) % FLAGGED_ONE_IN == 0


def main() -> None:
    """As the command ``run``."""
    run_with_model(Watchdog(), _open)


def run_with_model(watchdog: Watchdog, open_model: OpenModel) -> None:
    """As the command ``run``, with another model in the classifier's place."""
    watchdog.start()
    try:
        loaded = load_settings(os.environ, {Need.KAFKA})
        setup_logging(loaded.settings.log.level, loaded.settings.log.format, sys.stderr)
        run(loaded, watchdog, open_model)
    except FatalError as stop:
        print(stop, file=sys.stderr)  # noqa: T201 - to people
        sys.exit(stop.exit_code)


def _open(_settings: Settings, _say: Callable[[str], None]) -> StubModel:
    return StubModel()


if __name__ == "__main__":
    main()
