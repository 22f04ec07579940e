"""Where the originals of copies are, read from the headers of a topic of copies."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from worker.commands.replay.copies import OriginalPosition, original_of
from worker.kafka.headers import headers_of
from worker.kafka.topic_reader import open_reader, read_to_end, topic_partition_offset

_SILENCE_MS_MAX = 30_000

Originals = Mapping[tuple[str, int, int], OriginalPosition]
"""The original of each copy, by the topic, the partition and the offset of the copy."""
NO_ORIGINALS: Originals = MappingProxyType({})


def originals_of_topic(client_config: Mapping[str, Any], topic: str) -> Originals:
    """Return the originals of all copies in a topic. Records that are not copies are left out.

    A million copies take about 400 MB.

    Args:
        client_config: librdkafka's properties: servers and security.
        topic: The topic that ``replay`` has written to.

    Raises:
        KafkaFatalError: The topic can't be read.
    """
    with open_reader(client_config, [topic]) as reader:
        return {
            topic_partition_offset(message): original
            for message in read_to_end(reader, _SILENCE_MS_MAX)
            if (original := original_of(headers_of(message) or ())) is not None
        }
