"""What a run of `replay` copies, how its copies look, how fast it is, and what it refuses; without a broker."""

import argparse
import re

import pytest

from worker.commands.replay.command import add_arguments, plan_of
from worker.commands.replay.copies import (
    NOTHING_COPIED,
    LastOffsets,
    OriginalPosition,
    SourceRecord,
    copy_of_dead_letter,
    copy_of_message,
    original_of,
)
from worker.commands.replay.pacing import Pace, progress_line
from worker.commands.replay.retention import kept_ms, oldest_with_time, warning
from worker.commands.replay.selection import LogBounds, OffsetSpan, ReplaySelection, parse_offsets, resolve
from worker.commands.replay.stored_progress import StoredProgress, stored_options, stored_progress
from worker.errors import ConfigurationError, DataProtectionError
from worker.records import Headers, Partition
from worker.settings import Settings

CHAT = Partition("chat.messages", 0)
SECOND = Partition("chat.messages", 1)
HOUR_MS = 3_600_000


def selection(*, since: bool = True, until: bool = False, span: OffsetSpan | None = None) -> ReplaySelection:
    return ReplaySelection(
        topics=["chat.messages"],
        since_ms=1 if since else None,
        until_ms=2 if until else None,
        spans={} if span is None else {CHAT: span},
        reasons=None,
        options="",
    )


@pytest.mark.parametrize(
    ("bounds", "until", "span"),
    [
        (LogBounds(low=0, stable=9, high=9, since=3), False, OffsetSpan(3, 9)),
        (LogBounds(low=0, stable=9, high=9, since=3, until=6), True, OffsetSpan(3, 6)),
        (LogBounds(low=0, stable=9, high=9, since=3, until=-1), True, OffsetSpan(3, 9)),
        (LogBounds(low=0, stable=9, high=9, since=-1), False, None),
        (LogBounds(low=9, stable=9, high=9, since=-1), False, None),
        (LogBounds(low=0, stable=7, high=9, since=3), False, OffsetSpan(3, 7)),
        (LogBounds(low=0, stable=7, high=9, since=3, until=5), True, OffsetSpan(3, 5)),
    ],
)
def test_times_become_offsets_up_to_the_last_stable_offset(
    bounds: LogBounds, *, until: bool, span: OffsetSpan | None
) -> None:
    assert resolve(selection(until=until), {CHAT: bounds}) == ({} if span is None else {CHAT: span})


def test_an_open_transaction_that_may_hide_records_of_the_range_is_an_error() -> None:
    hidden = LogBounds(low=0, stable=7, high=9, since=3, until=-1)
    with pytest.raises(DataProtectionError, match=r"chat.messages\[0\] from offset 7 on"):
        resolve(selection(until=True), {CHAT: hidden})
    with pytest.raises(DataProtectionError, match="find-hanging"):
        resolve(selection(since=False, span=OffsetSpan(3, 8)), {CHAT: hidden})
    assert resolve(selection(since=False, span=OffsetSpan(3, 7)), {CHAT: hidden}) == {CHAT: OffsetSpan(3, 7)}


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (OffsetSpan(4, 6), "has the offsets 5 to 8, not all of 4 to 5"),
        (OffsetSpan(8, 10), "not all of 8 to 9"),
    ],
)
def test_offsets_that_the_log_does_not_have_are_named(span: OffsetSpan, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        resolve(selection(since=False, span=span), {CHAT: LogBounds(low=5, stable=9, high=9)})
    with pytest.raises(ConfigurationError, match="has the partitions 0 to 0"):
        resolve(selection(since=False, span=span), {SECOND: LogBounds(low=5, stable=9, high=9)})


def test_offset_ranges_include_both_offsets_and_name_a_partition_once() -> None:
    topics = ["chat.messages", "a.b-c_d"]
    assert parse_offsets(["chat.messages:0:5-5", "a.b-c_d:12:0-9"], topics) == {
        CHAT: OffsetSpan(5, 6),
        Partition("a.b-c_d", 12): OffsetSpan(0, 10),
    }
    for wrong in ("chat.messages:0:5", "chat.messages:0:5-4", "chat.messages:x:1-2", "other:0:1-2"):
        with pytest.raises(ConfigurationError, match="--offsets"):
            parse_offsets([wrong], topics)
    with pytest.raises(ConfigurationError, match="twice"):
        parse_offsets(["chat.messages:0:1-2", "chat.messages:0:3-4"], topics)


def test_the_stored_progress_of_a_run_reads_as_it_was_written_and_foreign_metadata_is_no_progress() -> None:
    given = StoredProgress(begin=3, end=90, next_offset=7, options="--to x --since 24h", last_offsets={"t:1": 2})
    assert stored_progress(7, given.metadata()) == given
    assert given.metadata().isascii()
    for foreign in (None, "", "topic-id=AAA", "[]", '{"schema":"other"}', '{"schema":"moderation-replay/1"}'):
        assert stored_progress(7, foreign) is None
    long = "--offsets x " * 1000
    assert stored_options(long) == stored_options(long) != stored_options(long + "y")
    assert len(StoredProgress(begin=0, end=1, next_offset=0, options=stored_options(long)).metadata()) < 3_500


def test_a_run_stores_the_last_copy_of_the_latest_input_partitions_that_fit_into_the_metadata() -> None:
    progress = StoredProgress(begin=0, end=9, next_offset=0, options=stored_options("x" * 500))
    numbers = [*range(1_000), 0]
    for number in numbers:
        progress = progress.with_copy(OriginalPosition("chat.messages", number, 2**62 + number, None))
    metadata = progress.metadata()
    assert len(metadata) < 3_500
    stored = stored_progress(0, metadata)
    assert stored is not None
    assert list(stored.last_offsets.items()) == [
        (f"chat.messages:{number}", 2**62 + number) for number in numbers[-len(stored.last_offsets) :]
    ]
    assert len(stored.last_offsets) > 50
    forged = progress.with_copy(OriginalPosition("t" * 249, 2**31 - 1, 2**63 - 1, None))
    assert len(forged.metadata()) < 3_500


def source(value: bytes | None = b"text", headers: Headers = (), offset: int = 4) -> SourceRecord:
    return SourceRecord(partition=SECOND, offset=offset, timestamp_ms=1_000, key=b"k", value=value, headers=headers)


def letter(reason: bytes, *, offset: int = 9, value: bytes | None = b"text", **more: bytes) -> SourceRecord:
    own = {
        "moderation.error.reason": reason,
        "moderation.source.topic": b"chat.messages",
        "moderation.source.partition": b"0",
        "moderation.source.offset": str(offset).encode(),
        **{f"moderation.{name}": given for name, given in more.items()},
    }
    return source(value, [("trace", b"1"), *own.items()])


def test_a_copy_of_a_message_names_its_original_and_a_copy_of_a_copy_names_the_first_one() -> None:
    first = copy_of_message("monday", source(headers=[("trace", b"1"), ("MODERATION.x", b"2")]))
    assert str(first.original) == "chat.messages:1:4"
    assert [name for name, _ in first.headers][:2] == ["trace", "moderation.replay"]
    again = copy_of_message("tuesday", source(headers=first.headers, offset=77))
    assert again.original == first.original == original_of(again.headers)
    assert dict(again.headers)["moderation.replay"] == b"tuesday"
    assert original_of([("moderation.source.topic", b"chat.messages")]) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("topic", b"t" * 5_000),
        ("topic", b"a topic"),
        ("partition", b"-1"),
        ("partition", b"2147483648"),
        ("offset", b"9" * 30),
        ("timestamp_ms", b"9" * 30),
        ("timestamp_ms", b"-5"),
    ],
)
def test_a_message_that_says_it_is_a_copy_of_an_impossible_record_is_its_own_original(
    name: str, value: bytes
) -> None:
    true = copy_of_message("monday", source()).headers
    forged = [(key, value if key == f"moderation.source.{name}" else old) for key, old in true]
    assert str(copy_of_message("tuesday", source(headers=forged, offset=77)).original) == "chat.messages:1:77"
    true_letter = letter(b"no_text").headers
    headers = [(key, old) for key, old in true_letter if key != f"moderation.source.{name}"]
    wrong = source(headers=[*headers, (f"moderation.source.{name}", value)])
    assert copy_of_dead_letter("run", wrong, {}, reasons=frozenset({"no_text"})) == "foreign"


def test_the_copy_of_a_message_has_kafkas_time_whatever_its_headers_say() -> None:
    true = copy_of_message("monday", source()).headers
    forged = [(name, b"4102444800000" if name.endswith(".timestamp_ms") else old) for name, old in true]
    assert copy_of_message("tuesday", source(headers=forged)).original.timestamp_ms == 1_000


def test_dead_letters_are_chosen_by_reason_and_left_out_where_there_is_no_message_to_copy() -> None:
    wanted = frozenset({"no_text"})

    def made(record: SourceRecord, last_offsets: LastOffsets = NOTHING_COPIED) -> object:
        return copy_of_dead_letter("run", record, last_offsets, reasons=wanted)

    copy = copy_of_dead_letter("run", letter(b"no_text"), {}, reasons=wanted)
    assert not isinstance(copy, str)
    assert copy is not None
    assert (copy.value, copy.key, str(copy.original)) == (b"text", b"k", "chat.messages:0:9")
    assert [name for name, _ in copy.headers] == [
        "trace",
        "moderation.replay",
        "moderation.source.topic",
        "moderation.source.partition",
        "moderation.source.offset",
    ]
    assert made(letter(b"not_json")) is None
    assert made(letter(b"a_later_reason")) == "foreign"
    assert made(source()) == "foreign"
    assert made(letter(b"no_text", value=None)) == "no value"
    assert made(letter(b"no_text"), {"chat.messages:0": 9, "chat.messages:3": 1}) == "same record"
    assert made(letter(b"no_text"), {"chat.messages:0": 8, "chat.messages:3": 9}) == copy


def test_the_rate_is_limited_by_waiting_and_slow_runs_have_small_transactions() -> None:
    assert Pace().wait_s(10_000, 0.0) == 0
    assert Pace(100).wait_s(50, 0.1) == pytest.approx(0.4)
    assert Pace(100).wait_s(50, 9.0) == 0
    assert [Pace(rate).records_max for rate in (0.1, 1, 100, 1_000_000)] == [1, 1, 25, 1_000]


def test_a_line_of_progress_has_the_rate_of_this_process_and_the_time_left() -> None:
    line = progress_line(records=400, passed=1_500, passed_before=1_000, total=2_500, elapsed_s=10)
    assert line == "400 records copied, 1,500 of 2,500 offsets (60%), 40 records/s, 20 s left"
    slow = progress_line(records=1, passed=1, passed_before=0, total=10_000, elapsed_s=2)
    assert slow.endswith("5 h 33 min left")
    assert progress_line(records=0, passed=5, passed_before=5, total=10, elapsed_s=1).endswith("(50%)")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("run --to chat.messages --since 1h", "or add --yes"),
        ("run --to moderation.verdicts --since 1h --yes", "output topic"),
        ("run --to moderation.dead-letters --since 1h --yes", "output topic"),
        ("run --to copies", "either --since TIME or --offsets"),
        ("run --to copies --since 1h --offsets chat.messages:0:0-1", "either --since TIME or --offsets"),
        ("run --to copies --offsets chat.messages:0:0-1 --until 1h", "--until: wants --since"),
        ("run --to copies --since 1h --until 2h", "nothing is between"),
        ("run --to copies --since yesterday", "--since: got 'yesterday'"),
        ("run --to copies --since 2h --until now", "--until: got 'now'"),
        ("a/b --to copies --since 1h", "NAME: got 'a/b'"),
        ("run --to copies --dead-letters all --offsets chat.messages:0:0-1", "not among the topics"),
    ],
)
def test_wrong_options_are_refused_before_a_broker_is_asked(arguments: str, words: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(ConfigurationError) as refusal:
        plan_of(parser.parse_args(arguments.split()), Settings(), now_ms=10**12)
    assert words in str(refusal.value)


def test_a_run_has_a_group_of_its_own_and_may_write_to_the_input_with_yes() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = parser.parse_args(["monday", "--to", "chat.messages", "--since", "1h", "--yes"])
    plan = plan_of(options, Settings(), now_ms=10**12)
    assert plan.run_id == "moderation.replay.monday"
    assert plan.selection.options == "--to chat.messages --since 1h from chat.messages"


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"cleanup.policy": "delete", "retention.ms": "1000"}, 1000),
        ({"cleanup.policy": "compact,delete", "retention.ms": "1000"}, 1000),
        ({"cleanup.policy": "compact", "retention.ms": "1000"}, None),
        ({"cleanup.policy": "delete", "retention.ms": "-1"}, None),
        ({"retention.ms": "1000", "message.timestamp.type": "LogAppendTime"}, None),
        ({}, None),
    ],
)
def test_kafka_deletes_copies_by_their_time_only_where_the_topic_says_so(
    settings: dict[str, str], kept: int | None
) -> None:
    assert kept_ms(settings) == kept


@pytest.mark.parametrize(
    ("age_hours", "said"),
    [(0, ""), (21, ""), (23, "keeps records for 24.0 hours .* deletes the oldest in 60.0 min")],
)
def test_copies_that_are_deleted_soon_are_a_warning(age_hours: int, said: str) -> None:
    assert bool(found := told(age_hours)) == bool(said)
    assert re.search(said, found)


def test_copies_that_are_older_than_the_topic_keeps_records_are_refused_with_what_to_do() -> None:
    with pytest.raises(
        DataProtectionError, match=r"chat\.messages:0:7, is 4\.0 days old.* retention\.ms=432000000\."
    ):
        told(96)


def test_a_record_without_a_time_is_never_the_oldest_because_its_copy_gets_the_time_of_the_copying() -> None:
    timeless = [OriginalPosition(*CHAT, offset, time_ms) for offset, time_ms in enumerate((None, 0, -1))]
    young, old = OriginalPosition(*CHAT, 3, 2_000), OriginalPosition(*CHAT, 4, 1_000)
    assert oldest_with_time([*timeless, young, old]) == old
    assert oldest_with_time(timeless) is None


def told(age_hours: int) -> str:
    now_ms = 1_000 * HOUR_MS
    oldest = OriginalPosition(*CHAT, 7, now_ms - age_hours * HOUR_MS)
    return warning("chat.copies", "kafka:9092", 24 * HOUR_MS, oldest, now_ms)
