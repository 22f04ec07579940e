"""The command `dead-letters`: counts dead letters by reason and hour, and shows the offsets of examples.

It reads headers and times. It never shows the value, because the value is a text that nobody has moderated.
"""

import argparse
import heapq
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.dead_letter import MESSAGE_CHARACTERS_MAX, PREFIX, REASONS
from schemas.verdict import nearest_rfc3339, rfc3339
from worker.commands.option_values import whole_number
from worker.commands.terminal import progress
from worker.errors import ConfigurationError, ExitCode
from worker.kafka.headers import headers_of
from worker.kafka.topic_reader import open_reader, read_to_end, topic_partition_offset
from worker.logs import escaped
from worker.settings import Need, admin_config, load_settings, variables_for

FOREIGN = "foreign"
MEANINGS = {
    **REASONS,
    FOREIGN: "A record of another program or of a newer worker: this version does not know its reason.",
}
UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
HOUR_MS = UNITS_MS["h"]
BAR_COLUMNS = 24
SILENCE_MS_MAX = 30_000
PROGRESS_S = 2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which dead letters to count, and how many to show."""
    parser.add_argument(
        "--since",
        default="24h",
        help="count from this time: 90m, 24h or 7d ago, or an RFC 3339 time (default: 24h)",
    )
    parser.add_argument("--reason", choices=[*REASONS, "foreign"], metavar="SLUG", help="count only this reason")
    parser.add_argument(
        "--examples",
        type=whole_number(0),
        default=3,
        metavar="N",
        help="examples to show of each reason (default: 3)",
    )
    parser.epilog = variables_for("kafka")


def run(options: argparse.Namespace) -> ExitCode:
    """Count the dead letters and print them by reason and hour.

    Raises:
        FatalError: A setting or an option is wrong, or the topic can't be read.
    """
    kafka = load_settings(os.environ, {Need.KAFKA}).settings.kafka
    now_ms = time.time_ns() // 1_000_000
    since_ms = parse_since(options.since, now_ms)
    tally = tally_of(
        admin_config(kafka),
        kafka.dead_letter_topic,
        since_ms=since_ms,
        now_ms=now_ms,
        reason=options.reason,
        examples_max=options.examples,
        progress=progress,
    )
    look_with = f"kafka-console-consumer.sh --bootstrap-server {kafka.bootstrap_servers}"
    if kafka.security_protocol != "PLAINTEXT":
        look_with += " --consumer.config client.properties"
    show(tally, Console(highlight=False), topic=kafka.dead_letter_topic, since_ms=since_ms, look_with=look_with)
    return ExitCode.DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter that is shown as an example, without key and value.

    Attributes:
        topic: The dead-letter topic.
        partition: The partition of the dead-letter topic.
        offset: The offset in that partition.
        timestamp_ms: The record's time, in milliseconds since 1970.
        headers: The headers that the worker wrote, without their prefix.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    headers: Mapping[str, str]


class Tally:
    """Counts, and the newest examples of each reason. Its size does not depend on the number of records.

    Attributes:
        counts: Records by hour (its first millisecond) and reason.
        oldest_ms: The earliest time of a record; None before the first record.
        newest_ms: The latest time of a record; None before the first record.
    """

    def __init__(self, *, now_ms: int, examples_max: int) -> None:
        self.counts: Counter[tuple[int, str]] = Counter()
        self.oldest_ms: int | None = None
        self.newest_ms: int | None = None
        self._now_ms = now_ms
        self._examples_max = examples_max
        self._newest: dict[str, list[tuple[int, int, int, Letter]]] = {}

    def add(self, reason: str, letter: Letter) -> None:
        """Count a record. A record whose time is in the future counts in the current hour."""
        at_ms = letter.timestamp_ms
        self.counts[min(at_ms, self._now_ms) // HOUR_MS * HOUR_MS, reason] += 1
        self.oldest_ms = at_ms if self.oldest_ms is None else min(self.oldest_ms, at_ms)
        self.newest_ms = at_ms if self.newest_ms is None else max(self.newest_ms, at_ms)
        newest = self._newest.setdefault(reason, [])
        entry = (at_ms, letter.partition, letter.offset, letter)
        if len(newest) < self._examples_max:
            heapq.heappush(newest, entry)
        else:
            heapq.heappushpop(newest, entry)

    def by_reason(self) -> list[tuple[str, int]]:
        """Return each reason that occurred with its count, the most frequent first."""
        total: Counter[str] = Counter()
        for (_, reason), count in self.counts.items():
            total[reason] += count
        return total.most_common()

    def examples(self, reason: str) -> list[Letter]:
        """Return the examples of a reason, the newest first."""
        return [letter for *_, letter in sorted(self._newest[reason], reverse=True)]


def parse_since(text: str, now_ms: int, option: str = "--since") -> int:
    """Return a time, or a time ago such as ``24h``, as milliseconds since 1970.

    Args:
        text: The value of the option.
        now_ms: The current time, in milliseconds since 1970.
        option: The option, for the error.

    Raises:
        ConfigurationError: The text is neither, or the time is in the future: no record would match, or the records
            up to that time are not there yet.
    """
    if ago := re.fullmatch("([0-9]{1,6})([mhd])", text):
        return max(0, now_ms - int(ago[1]) * UNITS_MS[ago[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min  # noqa: DTZ901 - it has no zone, so the check below refuses it
    if moment.tzinfo is None or moment < _EPOCH:
        raise ConfigurationError(
            f"{option}: got {text[:80]!r}; wants a time ago, such as 90m, 24h or 7d, or an RFC 3339 time with its "
            "zone, such as 2026-01-31T02:00:00Z"
        )
    time_ms = (moment - _EPOCH) // timedelta(milliseconds=1)
    if time_ms > now_ms:
        raise ConfigurationError(f"{option}: got {text!r}, a time in the future; it is {rfc3339(now_ms)} now")
    return time_ms


def tally_of(
    client_config: Mapping[str, Any],
    topic: str,
    *,
    since_ms: int,
    now_ms: int,
    reason: str | None,
    examples_max: int,
    progress: Callable[[str], None],
) -> Tally:
    """Count the records of the topic since a time. Records of an open transaction do not count.

    Args:
        client_config: librdkafka's properties: servers and security.
        topic: The dead-letter topic.
        since_ms: The time from which records count, in milliseconds since 1970.
        now_ms: The current time, in milliseconds since 1970.
        reason: Count only records with this reason. None means all.
        examples_max: The number of examples to keep of each reason.
        progress: Called with a line of progress every two seconds.

    Raises:
        KafkaFatalError: The topic can't be read.
    """
    tally = Tally(now_ms=now_ms, examples_max=examples_max)
    progress_s = time.monotonic() + PROGRESS_S
    with open_reader(client_config, [topic], since_ms=since_ms) as reader:
        for count, message in enumerate(read_to_end(reader, SILENCE_MS_MAX), 1):
            found, letter = read(message)
            # Within a partition times may go back: each worker has its own clock.
            if letter.timestamp_ms >= since_ms and reason in {None, found}:
                tally.add(found, letter)
            if time.monotonic() >= progress_s:
                progress_s = time.monotonic() + PROGRESS_S
                progress(f"{count:,} records read, now at {nearest_rfc3339(letter.timestamp_ms)} ...")
    return tally


def read(message: Message) -> tuple[str, Letter]:
    """Return a record's reason, and the record as an example."""
    topic, partition, offset = topic_partition_offset(message)
    given: Any = dict(headers_of(message) or ())
    written = {
        name.removeprefix(PREFIX): value.decode(errors="replace")
        for name, value in given.items()
        if name.startswith(PREFIX) and value is not None
    }
    reason = written.get("error.reason", FOREIGN)
    return reason if reason in REASONS else FOREIGN, Letter(
        topic=topic, partition=partition, offset=offset, timestamp_ms=message.timestamp()[1], headers=written
    )


def show(tally: Tally, console: Console, *, topic: str, since_ms: int, look_with: str) -> None:
    """Print the counts and the examples in at most 80 columns.

    Args:
        tally: The counts and examples.
        console: The console to print to.
        topic: The dead-letter topic.
        since_ms: The time from which records were counted, in milliseconds since 1970.
        look_with: The command that reads a record, without its topic, partition and offset.
    """
    since = nearest_rfc3339(since_ms)
    if tally.oldest_ms is None or tally.newest_ms is None:
        console.print(f"{topic}: no dead letters since {since} (--since 30d starts earlier)", soft_wrap=True)
        return
    total = sum(tally.counts.values())
    console.print(f"{topic}: {total:,} dead letters since {since}", soft_wrap=True, style="bold", markup=False)
    console.print(f"oldest {nearest_rfc3339(tally.oldest_ms)}, newest {nearest_rfc3339(tally.newest_ms)}\n")
    console.print(_table(tally.counts))
    shown: list[Letter] = []
    for reason, count in tally.by_reason():
        console.print(
            Text(f"\n{reason}: {count:,}", style="bold").append(f". {MEANINGS[reason]}", style="not bold")
        )
        for letter in tally.examples(reason):
            console.print(_example(letter), soft_wrap=True)
            shown.append(letter)
    if shown:
        console.print(Text(_how_to_look(shown[0], look_with)), soft_wrap=True)


def _table(counts: Mapping[tuple[int, str], int]) -> Table:
    """Return a row for each hour and reason that has records, the most frequent reason of an hour first."""
    table = Table("hour (UTC)", "reason", box=None, pad_edge=False)
    table.add_column("records", justify="right")
    table.add_column()
    most, before_ms = max(counts.values()), None
    for (hour_ms, reason), count in sorted(counts.items(), key=lambda entry: (entry[0][0], -entry[1], entry[0][1])):
        hour = "" if hour_ms == before_ms else rfc3339(hour_ms)[:16].replace("T", " ")
        table.add_row(hour, reason, f"{count:,}", "█" * -(-BAR_COLUMNS * count // most))
        before_ms = hour_ms
    return table


def _example(letter: Letter) -> Text:
    headers = {name: escaped(value, MESSAGE_CHARACTERS_MAX) for name, value in letter.headers.items()}
    lines = Text(f"  {letter.topic}[{letter.partition}]@{letter.offset}", style="cyan")
    lines.append(f"  {nearest_rfc3339(letter.timestamp_ms)}", style="default")
    if "error.reason" in headers:
        topic, partition, offset = (headers.get(f"source.{name}", "?") for name in ("topic", "partition", "offset"))
        details = f"of {topic}[{partition}]@{offset}, worker {headers.get('worker', '?')}"
        if "error.truncated" in headers:
            details += f", left out: {headers['error.truncated']}"
        if headers["error.reason"] not in REASONS:
            details += f", reason: {headers['error.reason']}"
        lines.append(f"\n    {details}\n    {headers.get('error.message', '')}", style="default")
    return lines


def _how_to_look(letter: Letter, look_with: str) -> str:
    return (
        "\nThe value of a dead letter is the original message. To read the first example:\n"
        f"  {look_with} \\\n"
        f"    --topic {letter.topic} --partition {letter.partition} --offset {letter.offset} \\\n"
        "    --max-messages 1 | less"
    )
