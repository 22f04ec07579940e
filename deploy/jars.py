#!/usr/bin/env python3
"""Writes worker/commands/broker/jars.sha256: the digest of every jar of the bundled Kafka, downloaded anew.

To run after a change of ``COORDINATES`` in worker/commands/broker/jars.py. Look at the difference before you commit
it: a jar of the same name with another digest is not a new version.
"""

import tempfile
from pathlib import Path

from worker.commands.broker.jars import DIGESTS, fetch, sha256


def main() -> None:
    """Downloads into a temporary folder, past the cache, and writes the list."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "kafka"
        fetch(folder)
        lines = [f"{sha256(jar)}  {jar.name}\n" for jar in sorted(folder.glob("*.jar"))]
    DIGESTS.write_text("".join(lines), encoding="ascii")


if __name__ == "__main__":
    main()
