"""Run a worker whose device is the bottleneck: ``python -m tests.bench.device_bound ... --log FILE``.

This is the real worker, except for the model. The stub model sleeps as long as a device would be busy with a batch:
a constant time for the launch, and then a time for each token. Sleeping needs no processor. So the figures show the
worker and not this machine's arithmetic, and several workers run on one machine as if each had a device.

FILE gets a line for each batch and each transaction, with its duration by the clock that all processes share.
"""

import argparse
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson

from schemas.labels import CATEGORY_SLUGS
from worker.commands.prove.kafka_names import KafkaNames
from worker.commands.prove.stub_model import ByteTokens, StubModel, flagged, run_with_model
from worker.commands.prove.worker_subprocess import WorkerSubprocess
from worker.reported import DeviceUsage
from worker.scores import Scores
from worker.settings import Settings
from worker.watchdog import Watchdog

ROOT = Path(__file__).parents[2]
TOKENS_MAX = 512
BATCH, COMMIT = "batch", "commit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Speed of the simulated device.

    Attributes:
        launch_ms: Constant time of each batch, in milliseconds.
        tokens_per_second: Tokens that the device scores in a second, after the launch.
        batch_tokens_max: Largest number of tokens in a batch.
    """

    launch_ms: float
    tokens_per_second: int
    batch_tokens_max: int

    @property
    def arguments(self) -> list[str]:
        """Return the device as arguments of the command line."""
        return [
            f"--launch-ms={self.launch_ms}",
            f"--tokens-per-second={self.tokens_per_second}",
            f"--batch-tokens-max={self.batch_tokens_max}",
        ]

    def seconds(self, tokens: int) -> float:
        """Return how long the device is busy with a batch, in seconds."""
        return self.launch_ms / 1000 + tokens / self.tokens_per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """A line of the log.

    Attributes:
        what: ``batch`` (on the device) or ``commit`` (a transaction from its begin to its commit).
        began_s: Start, by ``time.monotonic``, in seconds.
        seconds: Duration in seconds.
        records: Records in the batch; 0 for a commit.
    """

    what: str
    began_s: float
    seconds: float
    records: int


class Log:
    """The log of batches and commits. Two threads write it, so each line is one system call."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, what: str, began_s: float, records: int = 0) -> None:
        """Write a line about an event that ends now."""
        os.write(self._file, orjson.dumps([what, began_s, time.monotonic() - began_s, records]) + b"\n")


def read_log(path: Path) -> list[Took]:
    """Return all complete lines of the log."""
    lines = path.read_bytes().splitlines(keepends=True)
    rows = [orjson.loads(line) for line in lines if line.endswith(b"\n")]
    return [Took(what=row[0], began_s=row[1], seconds=row[2], records=row[3]) for row in rows]


class DeviceBound:
    """A stub model: each word is a token, and a checksum judges."""

    identity = replace(StubModel.identity, name="device-bound", device="asleep")
    usage = DeviceUsage()
    long_texts = None
    fallbacks = ("no model: a stub sleeps as long as a device would be busy, for a benchmark of the worker",)

    def __init__(self, device: Device, log: Log) -> None:
        self.batch_tokens_max = device.batch_tokens_max
        self._device = device
        self._log = log

    def encode(self, texts: Sequence[str]) -> Sequence[ByteTokens]:
        """Return one byte for each word."""
        words = [text.encode().split() for text in texts]
        return [ByteTokens([zlib.crc32(w) & 255 for w in ws[:TOKENS_MAX]], len(ws) > TOKENS_MAX) for ws in words]

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores]:
        """Sleep as long as the device would be busy, then return scores."""
        began_s = time.monotonic()
        time.sleep(self._device.seconds(sum(map(len, token_lists))))
        scores = [np.full(len(CATEGORY_SLUGS), flagged(bytes(tokens)), np.float32) for tokens in token_lists]
        self._log.note(BATCH, began_s, len(token_lists))
        return scores


class TimingWatchdog(Watchdog):
    """Times transactions: the watchdog sees every call of a transaction."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log
        self._began_s = 0.0

    @contextmanager
    def watch(self, call: str) -> Iterator[None]:
        """Watch the call as the watchdog does, and time it."""
        if call == "begin_transaction":
            self._began_s = time.monotonic()
        with super().watch(call):
            yield
        if call == "commit_transaction":
            self._log.note(COMMIT, self._began_s)


def start(
    folder: Path,
    names: KafkaNames,
    *,
    bootstrap_servers: str,
    number: int,
    device: Device,
    settings: Mapping[str, str],
) -> tuple[WorkerSubprocess, Path]:
    """Start a worker of the group as a process. Return the worker and the path of its log of durations.

    Args:
        folder: Folder of all workers; each worker gets a folder in it.
        names: Names of the topics and the group.
        bootstrap_servers: Addresses of the brokers.
        number: Number of the worker in its group.
        device: The worker's device.
        settings: Further variables of the worker.
    """
    name = f"{names.group}.{number}"
    log = folder / f"{name}.jsonl"
    # Leave out the user's own settings: the benchmark must be the same on every machine.
    environ = {key: value for key, value in os.environ.items() if not key.upper().startswith("WORKER_")}
    worker = WorkerSubprocess(
        name=name,
        folder=folder / name,
        environ={
            **environ,
            **names.settings,
            "PYTHONPATH": str(ROOT),
            "WORKER_KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
            "WORKER_KAFKA__TRANSACTIONAL_ID": name,
            "WORKER_CACHE__BYTES_MAX": "0",
            "WORKER_LOG__FORMAT": "text",
            **settings,
        },
        command=(sys.executable, "-m", "tests.bench.device_bound", *device.arguments, f"--log={log}"),
    )
    return worker, log


def opening(device: Device, log: Log) -> Callable[[Settings, Callable[[str], None]], DeviceBound]:
    """Return the function that opens the model, as the wiring needs it."""
    return lambda _settings, _say: DeviceBound(device, log)


def main() -> None:
    """Run the worker with the stub model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launch-ms", type=float, required=True)
    parser.add_argument("--tokens-per-second", type=int, required=True)
    parser.add_argument("--batch-tokens-max", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    given = parser.parse_args()
    device = Device(
        launch_ms=given.launch_ms,
        tokens_per_second=given.tokens_per_second,
        batch_tokens_max=given.batch_tokens_max,
    )
    log = Log(given.log)
    run_with_model(TimingWatchdog(log), opening(device, log))


if __name__ == "__main__":
    main()
