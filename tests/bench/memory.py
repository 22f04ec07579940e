"""Measure the memory that 64 MB of the most expensive inputs need: ``python -m tests.bench.memory``; some minutes.

The script stops an idle worker (SIGSTOP), sends all messages of one family, and lets the worker go on. The figure
is the worker's peak of resident memory above the idle worker's memory.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from tests.heavy import HEAVY
from tests.kafka_env import KafkaEnv
from tests.memory import peak_above_idle, tiny_model
from tests.worker_process import workers
from worker.commands.broker.embedded import running_broker


def main() -> None:
    """Measure each family, and print a row of a table for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=list(HEAVY))
    parser.add_argument("--text", action="store_true", help="alerts hold the text")
    options = parser.parse_args()
    changes = {"ALERT__TEXT": "full"} if options.text else {}
    sys.stdout.write(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}\n")
    with running_broker() as broker, tempfile.TemporaryDirectory() as folder, workers(Path(folder)) as start:
        model = tiny_model(Path(folder) / "model")
        for name in options.families:
            began = time.monotonic()
            scene = KafkaEnv(broker.bootstrap_servers, str(model), inputs=(4,), partitions=4)
            try:
                peak = peak_above_idle(scene, start, [HEAVY[name]], HEAVY[name].count, changes)
            except AssertionError as error:
                sys.stdout.write(f"| {name} | {str(error).splitlines()[0][:300]} |\n")
                sys.stdout.flush()
                continue
            sys.stdout.write(
                f"| {name} | {peak.idle_bytes / 1e6:.0f} | {peak.above_bytes / 1e6:.0f} | {peak.seconds:.1f} |"
                f" {time.monotonic() - began:.0f}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
