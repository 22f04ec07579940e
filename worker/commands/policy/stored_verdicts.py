"""Where stored verdicts come from: a file of JSON Lines, or the verdict topic since some time."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from worker.commands.gzipped import UNREADABLE, unpacked, why_unreadable
from worker.errors import ConfigurationError
from worker.kafka.topic_reader import open_reader, read_to_end, records_left

CHUNK_VERDICTS = 4096
"""Verdicts that are decoded together; a decoded chunk takes about 40 MB."""
SILENCE_MS_MAX = 30_000
STANDARD_INPUT = "-"
_FILE_ENDINGS = (".json", ".jsonl", ".gz")

Chunks = Iterator[Sequence[bytes]]
"""The values of verdicts as they were published, at most ``CHUNK_VERDICTS`` together."""


def names_a_file(name: str) -> bool:
    """Return whether a name on the command line is a file's, not a topic's, by its form or because it exists."""
    return name == STANDARD_INPUT or "/" in name or name.endswith(_FILE_ENDINGS) or Path(name).is_file()


def chunks_of(name: str, client_config: Mapping[str, Any], since_ms: int) -> Chunks:
    """Yield the lines of a file, or the records of a topic since a time.

    Args:
        name: A file's path, ``-`` for standard input, or a topic.
        client_config: librdkafka's properties, for a topic.
        since_ms: The time of the first record of a topic, in milliseconds since 1970.

    Raises:
        FatalError: The file or the topic can't be read.
    """
    return chunks_of_file(name) if names_a_file(name) else chunks_of_topic(client_config, name, since_ms)


def chunks_of_file(name: str) -> Chunks:
    """Yield the lines of a file, which may be gzipped. Blank lines are left out.

    Args:
        name: The file's path; ``-`` means standard input.

    Raises:
        ConfigurationError: The file can't be read.
    """
    try:
        if name == STANDARD_INPUT:
            yield from _chunks(_lines(sys.stdin.buffer), lambda _: None)
            return
        with Path(name).open("rb") as file, _progress("bytes", Path(name).stat().st_size) as advance_to:
            yield from _chunks(_lines(unpacked(file)), lambda _: advance_to(file.tell()))
    except UNREADABLE as error:
        raise ConfigurationError(
            f"The file {name} can't be read ({why_unreadable(error)}): name a file with a verdict a line."
        ) from error


def chunks_of_topic(client_config: Mapping[str, Any], topic: str, since_ms: int) -> Chunks:
    """Yield the records of the verdict topic since a time, up to its present end. Joins no group.

    Args:
        client_config: librdkafka's properties: servers and security.
        topic: The verdict topic.
        since_ms: The time of the first record, in milliseconds since 1970.

    Raises:
        KafkaFatalError: The topic can't be read.
    """
    with open_reader(client_config, [topic], since_ms=since_ms) as reader:
        # Within a partition times may go back: each worker has its own clock.
        values = (
            message.value() or b""
            for message in read_to_end(reader, SILENCE_MS_MAX)
            if message.timestamp()[1] >= since_ms
        )
        with _progress("verdicts", records_left(reader)) as advance_to:
            yield from _chunks(values, advance_to)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    return (line for line in file if not line.isspace())


def _chunks(values: Iterator[bytes], advance_to: Callable[[int], None]) -> Chunks:
    count = 0
    while chunk := list(islice(values, CHUNK_VERDICTS)):
        yield chunk
        count += len(chunk)
        advance_to(count)


@contextmanager
def _progress(unit: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error while a person is watching, and remove the bar at the end."""
    console = Console(stderr=True)
    columns = (
        TextColumn("reading"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn(f"of {total:,} {unit}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=max(1, total))
        yield lambda done: bar.update(task, completed=min(done, total))
