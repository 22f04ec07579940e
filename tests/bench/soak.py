"""Run one worker for a long time: ``python -m tests.bench.soak --messages 10000000``.

Memory and open files must not grow. The worker has the stub model of ``prove``, runs on the embedded Kafka, and
gets messages as fast as it judges them. Every five seconds this script reads its memory and its open files from
/proc. At the end it prints the figures, and draws the curve.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer

from tests.bench.pictures import draw
from tests.bench.side_by_side import say, write
from worker.commands.prove.environment import proof_environment
from worker.commands.prove.feed import MessageFeed
from worker.commands.prove.messages import messages_of
from worker.commands.prove.observers import CommittedOffsets

BACKLOG_MAX = 100_000
LOOK_EVERY_MS = 5_000
SETTLED = 0.1
"""Share of the messages until buffers and pools have their final sizes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The worker at one moment.

    Attributes:
        at_ms: Milliseconds since the start.
        judged: Messages judged until then.
        rss_bytes: Resident memory in bytes.
        files: Number of open files.
    """

    at_ms: int
    judged: int
    rss_bytes: int
    files: int


def look(pid: int | None, at_ms: int, judged: int) -> Look:
    """Read memory and open files of the worker from /proc."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Look(at_ms=at_ms, judged=judged, rss_bytes=pages * os.sysconf("SC_PAGE_SIZE"), files=files)


def soak(environ: Mapping[str, str], messages: int, say: Callable[[str], None]) -> list[Look]:
    """Feed the worker until it has judged all messages, and return a look every five seconds."""
    looks: list[Look] = []
    with proof_environment(environ, say) as (environment, _timeouts):
        worker = environment.start_worker(0)
        offsets = CommittedOffsets(environment.client, environment.names.group, environment.inputs)
        producer = Producer({"log_level": 0, **environment.client, "linger.ms": 20, "compression.type": "lz4"})
        feed = MessageFeed(
            producer=producer, topic=environment.names.input, per_second=50_000, record=messages_of("plain")
        )
        began_ns = time.monotonic_ns()
        looked_ms = 0
        judged = 0
        try:
            while judged < messages:
                now_ms = (time.monotonic_ns() - began_ns) // 1_000_000
                feed.write_up_to(min(messages, judged + BACKLOG_MAX))
                offsets.sample(now_ms)
                judged = sum(offsets.latest.values())
                if worker.exit_code is not None:
                    raise SystemExit(worker.log_tail())
                if now_ms - looked_ms >= LOOK_EVERY_MS and judged:
                    looked_ms = now_ms
                    looks.append(look(worker.pid, now_ms, judged))
                    say(str(looks[-1]))
                time.sleep(0.02)
        finally:
            worker.drain()
            offsets.close()
    return looks


def report(looks: Sequence[Look]) -> str:
    """Return a line of figures: the first look after a tenth of the messages, and the last look."""
    first = next(one for one in looks if one.judged >= SETTLED * looks[-1].judged)
    last = looks[-1]
    per_second = (last.judged - first.judged) * 1000 / max(1, last.at_ms - first.at_ms)
    return (
        f"{last.judged:,} messages in {last.at_ms / 1000:.0f} s, {per_second:,.0f} a second; memory "
        f"{first.rss_bytes / 1e6:.0f} MB at {first.judged:,}, {last.rss_bytes / 1e6:.0f} MB at the end, at most "
        f"{max(one.rss_bytes for one in looks) / 1e6:.0f} MB; open files {first.files} and {last.files}; "
        f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    )


def main() -> None:
    """Run the soak, then draw the curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000_000)
    options = parser.parse_args()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
    looks = soak(environ, options.messages, say)
    points = [(one.at_ms / 1000, round(one.rss_bytes / 1e6, 1)) for one in looks]
    write("soak", {"messages": options.messages, "seconds_and_memory_mb": points})
    draw("soak")
    sys.stdout.write(report(looks) + "\n")


if __name__ == "__main__":
    main()
