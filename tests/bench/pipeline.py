"""Measure the pipeline without the model: ``python -m tests.bench.pipeline LOG --tokenizer tokenizer.json``.

The benchmark compares everything around the model: a null model answers each text immediately, with the same
scores. LOG has one JSON object with ``text`` on each line, and may be gzipped; it is repeated until there are
enough messages. The messages are in a topic of four partitions of the embedded Kafka before any contender starts.
The contenders:

- ``bare``: the bare client in two threads; its exactly-once is only begin, produce, offsets, commit
- ``worker``: the worker without its verdict cache (a text that comes twice in a chunk is still tokenised once)
- ``worker, input once``: the same with LOG only once, for the comparison with the next one
- ``worker with cache``: the worker with its verdict cache; it gets LOG only once, because a second pass would be
  only hits
- ``quix``: Quix Streams, exactly once, with two commit intervals; only if ``--quix`` names a Python that has it
- ``per message``: flush and synchronous commit after each message; it gets few messages, because it is slow

How messages a second and CPU time are counted: ``tests.bench.pipeline_course``.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tests.bench.pictures import draw
from tests.bench.pipeline_course import Contender, Course, Run, course_on_broker, log_options, texts_of
from tests.bench.pipeline_worker import IDENTITY
from tests.bench.side_by_side import medians, ratios, write
from worker.moderation.policies import Policy

MODEL = {
    "name": IDENTITY.name,
    "revision": IDENTITY.revision,
    "commit": IDENTITY.commit,
    "dtype": IDENTITY.dtype,
}
RAW = {"WORKER_TEXT__VIEWS": "raw", "WORKER_TEXT__WINDOWS_MAX": "1"}
"""Only what the model card scores, as the rivals do. ``tests.bench.views`` measures what the default costs."""


def contenders(options: argparse.Namespace, texts: Sequence[str]) -> dict[str, Contender]:
    """Return the contenders by name."""
    tokenizer = str(options.tokenizer.absolute())
    rival = (sys.executable, "-m", "tests.bench.pipeline_rivals")
    worker = (sys.executable, "-m", "tests.bench.pipeline_worker", tokenizer)
    plan = {
        "tokenizer": tokenizer,
        "model": MODEL,
        "policy": orjson.loads(orjson.dumps(Policy.of().document, option=orjson.OPT_SERIALIZE_NUMPY)),
        "transaction_records": options.transaction_records,
    }
    everything, once = options.messages, min(options.messages, len(texts))
    cache_off = {**RAW, "WORKER_CACHE__BYTES_MAX": "0"}
    found = {
        "bare": Contender(command=[*rival, "bare"], messages=everything, plan=plan),
        "worker": Contender(command=worker, messages=everything, settings=cache_off),
        "worker, input once": Contender(command=worker, messages=once, settings=cache_off),
        "worker with cache": Contender(command=worker, messages=once, settings=RAW),
    }
    if options.quix is not None:
        quix = (str(options.quix.absolute()), "-m", "tests.bench.pipeline_rivals", "quix")
        for seconds in (0.1, 1):
            found[f"quix, commit every {seconds} s"] = Contender(
                command=quix, messages=everything, plan={**plan, "commit_interval_s": seconds}
            )
    few = min(options.per_message, everything)
    found["per message"] = Contender(command=[*rival, "per message"], messages=few, plan=plan)
    return found


def report(course: Course, rates: Mapping[str, float], options: argparse.Namespace) -> dict[str, Any]:
    """Return the report that is stored."""
    of_bare = ratios(rates, to="bare")
    quix = [name for name in rates if name.startswith("quix")]

    def middle(name: str, figure: Callable[[Run], float]) -> float:
        return round(statistics.median(figure(run) for run in course.runs[name]), 2)

    def row(name: str) -> dict[str, Any]:
        first = course.runs[name][0]
        transaction = first.records_per_transaction
        return {
            "messages_per_s": round(rates[name]),
            "of_bare": of_bare[name],
            "cpu_us_a_message": middle(name, lambda run: run.cpu_us),
            "verdict_bytes": round(first.value_bytes),
            "each_round": [round(run.messages_per_s) for run in course.runs[name]],
        } | (
            {
                "records_per_transaction": round(transaction),
                "cpu_us_a_message_by_thread": {
                    thread: middle(name, lambda run, thread=thread: run.threads_us[thread])  # type: ignore[misc]
                    for thread in first.threads_us
                },
            }
            if transaction is not None
            else {"versions": first.versions}
        )

    best = max((rates[name] for name in quix), default=None)
    return {
        "log": options.log.name,
        "messages": options.messages,
        "rounds": options.rounds,
        "bare_records_per_transaction_max": options.transaction_records,
        "worker_of_bare": of_bare["worker"],
        "cache_on_of_off": round(rates["worker with cache"] / rates["worker, input once"], 3),
        "worker_of_quix": "left out: no --quix" if best is None else round(rates["worker"] / best, 3),
        "contenders": {name: row(name) for name in rates},
    }


def main() -> None:
    """Run the contenders in turn, then draw the picture."""
    parser = log_options(__doc__, rounds=3)
    parser.add_argument("--transaction-records", type=int, default=4_000, help="of the bare client, at most")
    parser.add_argument("--per-message", type=int, default=4_000, help="messages of the slow contender")
    parser.add_argument("--quix", type=Path, help="a Python with quixstreams 3.28, orjson and tokenizers")
    options = parser.parse_args()
    texts = texts_of(options.log)
    with course_on_broker() as course:
        entered = contenders(options, texts)
        for messages in {contender.messages for contender in entered.values()}:
            course.feed(texts, messages)
        rates = medians(
            {name: partial(course.run, name, contender) for name, contender in entered.items()},
            rounds=options.rounds,
        )
        write("pipeline", report(course, rates, options))
    draw("bench-pipeline")


if __name__ == "__main__":
    main()
