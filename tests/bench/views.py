"""Measure what views and windows cost: ``python -m tests.bench.views LOG... --tokenizer tokenizer.json``.

The benchmark is the one of ``tests.bench.pipeline``: everything around the model, on the embedded Kafka. For each
log two contenders take turns, each without and with the verdict cache:

- ``raw``: only what the model card scores, the head of the text as received
- ``default``: the views ``raw`` and ``plain``, and windows of long texts
"""

import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.pipeline import RAW
from tests.bench.pipeline_course import Contender, course_on_broker, log_options, texts_of
from tests.bench.side_by_side import medians, say, write

CACHELESS = {"WORKER_CACHE__BYTES_MAX": "0"}
SETTINGS: dict[str, dict[str, str]] = {
    "raw": {**CACHELESS, **RAW},
    "default": CACHELESS,
    "raw, cache": RAW,
    "default, cache": {},
}
RAW_OF = {"default": "raw", "default, cache": "raw, cache"}


def compare(log: Path, tokenizer: Path, *, messages: int, rounds: int) -> dict[str, Any]:
    """Return the figures of the contenders on one log. Each is compared with raw without or with the cache."""
    command = (sys.executable, "-m", "tests.bench.pipeline_worker", str(tokenizer.resolve()))
    with course_on_broker() as course:
        course.is_compared = False
        course.feed(texts_of(log), messages)
        rates = medians(
            {
                name: partial(course.run, name, Contender(command=command, messages=messages, settings=settings))
                for name, settings in SETTINGS.items()
            },
            rounds=rounds,
        )
        cpu_us = {name: statistics.median(run.cpu_us for run in runs) for name, runs in course.runs.items()}
    return {
        name: {
            "messages_per_s": round(rates[name]),
            "of_raw": round(rates[name] / rates[RAW_OF.get(name, name)], 3),
            "cpu_us_a_message": round(cpu_us[name], 2),
            "cpu_of_raw": round(cpu_us[name] / cpu_us[RAW_OF.get(name, name)], 3),
        }
        for name in rates
    }


def main() -> None:
    """Compare the contenders on each log."""
    parser = log_options(__doc__, rounds=3)
    parser.add_argument("more_logs", type=Path, nargs="*")
    options = parser.parse_args()
    logs = [options.log, *options.more_logs]
    found = {
        log.name: compare(log, options.tokenizer, messages=options.messages, rounds=options.rounds) for log in logs
    }
    say(str(found))
    write("views", {"messages": options.messages, "rounds": options.rounds, "logs": found})


if __name__ == "__main__":
    main()
