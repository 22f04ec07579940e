"""What is committed with an offset: the topic's id, and the state of the partition."""

import logging

import pytest

from worker.kafka.commit_metadata import (
    CHARACTERS_MAX,
    CommitMetadata,
    MetadataLimit,
    decode_metadata,
    encode_metadata,
)
from worker.records import Partition

ID = "P402jcnoQ9WylzsPFddaPQ"
PARTITION = Partition("messages", 0)


@pytest.mark.parametrize("topic_id", [ID, ""])
@pytest.mark.parametrize("state", ["1:a.b;c.d", ""])
def test_an_offset_carries_the_id_of_its_topic_and_the_state(topic_id: str, state: str) -> None:
    assert decode_metadata(encode_metadata(topic_id, state)) == CommitMetadata(topic_id=topic_id, state=state)


def test_without_a_state_the_metadata_is_that_of_earlier_releases() -> None:
    assert encode_metadata(ID) == f"topic-id={ID}"


def test_an_earlier_release_does_not_take_metadata_with_a_state_for_the_id_of_another_log() -> None:
    assert not encode_metadata(ID, "1:a").startswith("topic-id=")


@pytest.mark.parametrize(
    "metadata", ["of another tool", "moderation/2 1:a", "moderation/1 ", "moderation/1 a b", "x" * 4090, "\u20ac"]
)
def test_metadata_of_another_tool_is_ignored_and_logged_once(
    metadata: str, caplog: pytest.LogCaptureFixture
) -> None:
    limit = MetadataLimit()
    for _ in range(2):
        assert limit.decode(PARTITION, metadata) == CommitMetadata(is_foreign=True)
    assert len(caplog.records) == 1
    assert metadata not in caplog.text


def test_no_metadata_is_not_foreign(caplog: pytest.LogCaptureFixture) -> None:
    assert MetadataLimit().decode(PARTITION, None) == MetadataLimit().decode(PARTITION, "") == CommitMetadata()
    assert not caplog.records


def test_the_longest_state_fits() -> None:
    limit = MetadataLimit()
    assert len(limit.encode(ID, PARTITION, "x" * limit.state_characters)) == CHARACTERS_MAX


def test_each_refusal_halves_the_limit_until_nothing_is_written(caplog: pytest.LogCaptureFixture) -> None:
    limit, most = MetadataLimit(), [CHARACTERS_MAX]
    while limit.characters:
        limit.refused([limit.encode(ID, PARTITION, "x" * limit.state_characters)], "chat")
        most.append(limit.characters)
    assert most == [3500, 1750, 875, 437, 218, 109, 0]
    assert limit.encode(ID, PARTITION, "") == ""
    assert "group 'chat'" in caplog.text


def test_a_state_that_no_longer_fits_is_reported_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    limit = MetadataLimit()
    state = "x" * limit.state_characters
    limit.refused([limit.encode(ID, PARTITION, state)], "chat")
    with caplog.at_level(logging.ERROR):
        assert limit.encode(ID, PARTITION, state) == f"topic-id={ID}"
    assert "get no summary" in caplog.records[-1].getMessage()
