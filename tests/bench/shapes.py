"""Measure what a platform's events cost: ``python -m tests.bench.shapes LOG --tokenizer tokenizer.json``.

The benchmark is the one of ``tests.bench.pipeline``: everything around the model, on the embedded Kafka, without
the verdict cache. The contenders judge the same texts and take turns:

- ``plain``: plain messages
- ``discord``: the documented event of Discord's gateway for a new message, as short as it can be
- ``discord, busy server``: the same with four to seven roles, a mentioned member and a decorated avatar
"""

import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tests.bench.pipeline_course import (
    Contender,
    MakeMessage,
    Run,
    course_on_broker,
    log_options,
    message,
    texts_of,
)
from tests.bench.side_by_side import medians, say, write

EVENTS = Path(__file__).parents[1] / "events" / "discord.json"
CACHELESS = {"WORKER_CACHE__BYTES_MAX": "0"}
FIRST_ID = 820_000_000_000_000_000


def short_event(number: int, text: str, channel: int) -> bytes:
    """Return an event of Discord that has only what each event has."""
    return orjson.dumps(_event(number, text, channel))


def busy_event(number: int, text: str, channel: int) -> bytes:
    """Return an event of Discord of an author with several roles, who mentions another member."""
    event = _event(number, text, channel)
    message, user = event["d"], number % 997
    roles = [str(FIRST_ID + (7 * user + place) % 40) for place in range(4 + user % 4)]
    decoration = {
        "sku_id": "1144058844004233369",
        "asset": "a_fed43ab12698df65902ba06727e20c0e",
        "expires_at": None,
    }
    message["member"]["roles"] = roles
    message["author"] |= {"avatar": "a_1269e74af4df7417b13759eae50c83dc", "avatar_decoration_data": decoration}
    message["mentions"] = [{**message["author"], "member": message["member"], "id": str(FIRST_ID + 1000)}]
    return orjson.dumps(event)


def _event(number: int, text: str, channel: int) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(_DOCUMENTED)
    event["d"] |= {
        "id": str(FIRST_ID + number),
        "channel_id": str(FIRST_ID + channel),
        "content": text,
    }
    event["d"]["author"]["id"] = str(FIRST_ID + number % 997)
    return event


_DOCUMENTED = orjson.dumps(orjson.loads(EVENTS.read_bytes())["events"][0]["event"])
MESSAGES: dict[str, tuple[str, MakeMessage]] = {
    "plain": ("plain", message),
    "discord": ("discord", short_event),
    "discord, busy server": ("discord", busy_event),
}
"""The shape and the messages of each contender."""


def main() -> None:
    """Compare the contenders."""
    options = log_options(__doc__, rounds=3).parse_args()
    command = (sys.executable, "-m", "tests.bench.pipeline_worker", str(options.tokenizer.resolve()))
    texts = texts_of(options.log)
    contenders = {
        name: Contender(
            command=command,
            messages=options.messages,
            kind=name.replace(", ", "-").replace(" ", "-"),
            settings={**CACHELESS, "WORKER_INPUT__SHAPE": shape},
        )
        for name, (shape, _) in MESSAGES.items()
    }
    with course_on_broker() as course:
        course.is_compared = False
        for name, contender in contenders.items():
            course.feed(texts, options.messages, contender.kind, MESSAGES[name][1])
        rates = medians(
            {name: partial(course.run, name, contender) for name, contender in contenders.items()},
            rounds=options.rounds,
        )
    rows = {name: _row(course.runs[name], rates[name]) for name in rates}
    for name, row in rows.items():
        row["of_plain"] = round(rates[name] / rates["plain"], 3)
        row["cpu_of_plain"] = round(row["cpu_us_a_message"] / rows["plain"]["cpu_us_a_message"], 3)
        row["value_bytes"] = round(
            sum(len(MESSAGES[name][1](number, text, 4)) for number, text in enumerate(texts[:1000])) / 1000
        )
    say(str(rows))
    write(
        "shapes", {"log": options.log.name, "messages": options.messages, "rounds": options.rounds, "events": rows}
    )


def _row(runs: list[Run], rate: float) -> dict[str, Any]:
    return {
        "messages_per_s": round(rate),
        "cpu_us_a_message": round(statistics.median(run.cpu_us for run in runs), 2),
        "cpu_us_each_round": [round(run.cpu_us, 1) for run in runs],
        "cpu_us_a_message_by_thread": {
            thread: round(statistics.median(run.threads_us[thread] for run in runs), 2)
            for thread in runs[0].threads_us
        },
    }


if __name__ == "__main__":
    main()
