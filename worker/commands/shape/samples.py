"""Where the events of a trial come from: a file, or the newest records of a topic."""

import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from worker.errors import ConfigurationError
from worker.kafka.headers import headers_of
from worker.kafka.topic_reader import open_reader, read_to_end, topic_partition_offset
from worker.records import Headers

FILE_BYTES_MAX = 256 * 2**20
SILENCE_MS_MAX = 30_000
STANDARD_INPUT = "-"
_WANTED = "with one JSON document, or an event a line"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRecord:
    """A record for a trial.

    Attributes:
        place: Where it comes from: a line of a file, or topic, partition and offset.
        value: The record's value; None for a tombstone.
        headers: The record's headers.
    """

    place: str
    value: bytes | None
    headers: Headers = ()


def samples_of_file(name: str) -> list[SampleRecord]:
    """Return the events of a file: a JSON document, or else an event on each line that is not blank.

    Args:
        name: The file's path; ``-`` means standard input.

    Raises:
        ConfigurationError: The file can't be read, holds no event, or is too large.
    """
    try:
        if name == STANDARD_INPUT:
            content = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(
            f"the file {name} can't be read ({error.strerror}): name a file {_WANTED}"
        ) from error
    if len(content) > FILE_BYTES_MAX:
        raise ConfigurationError(f"the file {name} has more than {FILE_BYTES_MAX} bytes; try a part of it")
    if not content.strip():
        raise ConfigurationError(f"the file {name} holds no event: name a file {_WANTED}")
    if _is_one_document(content):
        return [SampleRecord(place="1", value=content)]
    lines = enumerate(content.split(b"\n"), 1)
    return [SampleRecord(place=str(number), value=line) for number, line in lines if line.strip()]


def _is_one_document(content: bytes) -> bool:
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return True


def samples_of_topic(client_config: Mapping[str, Any], topic: str, last: int) -> list[SampleRecord]:
    """Return about the newest records of a topic, without a consumer group.

    Args:
        client_config: librdkafka's properties: servers and security.
        topic: The topic.
        last: How many records, spread over the partitions.

    Raises:
        KafkaFatalError: The topic can't be read.
    """
    newest: deque[SampleRecord] = deque(maxlen=last)
    with open_reader(client_config, [topic], last=last) as reader:
        for message in read_to_end(reader, SILENCE_MS_MAX):
            name, partition, offset = topic_partition_offset(message)
            headers = headers_of(message) or ()
            newest.append(
                SampleRecord(place=f"{name}[{partition}]@{offset}", value=message.value(), headers=headers)
            )
    return list(newest)
