"""Which work may be committed."""

from worker.kafka.ownership import (
    Lookups,
    Ownership,
    Progress,
    Reset,
    group_member,
    is_member,
    is_truncated,
    next_offsets,
    start,
)
from worker.records import Partition


def test_the_group_metadata_of_a_member_is_read() -> None:
    metadata = b"CGMDv2:" + (7).to_bytes(4, "little", signed=True) + b"group\0member-1\0"
    assert group_member(metadata) == (7, "member-1")
    assert is_member(metadata)


def test_metadata_of_one_who_has_not_joined_is_told_apart() -> None:
    never = b"CGMDv2:\xff\xff\xff\xffgroup\0\0"
    assert group_member(never) == (-1, "")
    assert not is_member(never)
    assert not is_member(b"CGMDv2:\xff\xff\xff\xffgroup\0member-1\0")
    assert not is_member(b"CGMDv2:\x01\x00\x00\x00group\0\0")


def test_metadata_of_another_shape_is_not_guessed_at() -> None:
    assert group_member(b"CGMDv3:\x01\x00\x00\x00group\0member\0") is None
    assert group_member(b"CGMDv2:\x01\x00\x00\x00group") is None
    assert not is_member(None)


def test_a_committed_offset_in_range_is_the_start_whatever_the_settings() -> None:
    for reset in (Reset(), Reset(refuse=True), Reset(time_ms=5)):
        assert start(7, low=3, high=7, timed=None, reset=reset) == 7
        assert start(3, low=3, high=7, timed=None, reset=reset) == 3


def test_without_a_committed_offset_the_settings_decide() -> None:
    assert start(None, low=3, high=9, timed=None, reset=Reset()) == 3
    assert start(None, low=3, high=9, timed=5, reset=Reset(time_ms=1)) == 5
    assert start(None, low=3, high=9, timed=-1, reset=Reset(time_ms=1)) == 9
    assert start(None, low=3, high=9, timed=None, reset=Reset(refuse=True)) is None


def test_a_position_that_retention_has_overtaken_goes_to_the_first_there_is() -> None:
    assert start(1, low=3, high=9, timed=None, reset=Reset()) == 3
    assert start(1, low=3, high=9, timed=None, reset=Reset(refuse=True)) is None


def test_a_log_that_ends_before_the_committed_offset_was_truncated() -> None:
    assert is_truncated(10, high=9)
    assert not is_truncated(9, high=9)


def test_an_answer_counts_only_for_the_question_that_it_belongs_to() -> None:
    one, other, lookups = Partition("messages", 0), Partition("messages", 1), Lookups(100, 400)
    first = lookups.ask(lookups.due(0, [one, other]))
    assert lookups.due(0, [one, other]) == set()
    lookups.forget([one])
    assert lookups.current(first, [one, other]) == [other]
    second = lookups.ask(lookups.due(0, [one, other]))
    assert lookups.current(first, [one, other]) == [other]
    assert lookups.current(second, [one, other]) == [one]


def test_a_partition_is_asked_about_again_after_pauses_that_grow_up_to_a_bound() -> None:
    partition, lookups = Partition("messages", 0), Lookups(100, 400)
    now_ms, pauses = 0, []
    for _ in range(5):
        lookups.ask([partition])
        lookups.again(now_ms, partition)
        asked_ms = now_ms
        while not lookups.due(now_ms, [partition]):
            now_ms += 1
        pauses.append(now_ms - asked_ms)
    assert pauses == [100, 200, 400, 400, 400]


def test_nothing_is_committed_for_no_records() -> None:
    assert next_offsets([]) == {}


def test_the_end_that_was_reached_holds_until_the_next_assignment() -> None:
    """Otherwise the place of an idle partition would be committed behind what is about to be read again."""
    partition, owned = Partition("messages", 0), Ownership()
    owned.place({partition: 3})
    owned.fetched(partition, 3, timestamp_ms=None, key=None, value=b"", headers=())
    assert owned.progress == {partition: Progress(committed=3, delivered=4, position=4)}
    owned.reached_end(partition, 6)
    assert owned.progress == {partition: Progress(committed=3, delivered=4, position=6)}
    owned.remove([partition])
    owned.reached_end(partition, 6)
    owned.place({partition: 3})
    assert owned.progress == {partition: Progress(committed=3, delivered=3, position=3)}
