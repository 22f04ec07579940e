#!/usr/bin/env python3
"""Download the jars of the bundled Kafka, and write the SHA-256 of each to worker/commands/broker/jars.sha256.

Run this script after a change of ``COORDINATES`` in worker/commands/broker/jars.py. Look at the difference before
you commit it: a jar with the same name and another SHA-256 is not a new version.
"""

import tempfile
from pathlib import Path

from worker.commands.broker.jars import DIGESTS, fetch, sha256


def main() -> None:
    """Download into a temporary folder, not into the cache, and write the list."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "kafka"
        fetch(folder)
        lines = [f"{sha256(jar)}  {jar.name}\n" for jar in sorted(folder.glob("*.jar"))]
    DIGESTS.write_text("".join(lines), encoding="ascii")


if __name__ == "__main__":
    main()
