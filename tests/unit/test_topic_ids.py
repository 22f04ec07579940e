"""Telling the log of a recreated topic from the deleted log of the same name."""

import logging

import pytest

from worker.kafka.topic_ids import (
    NO_ID,
    IdCheck,
    JudgedSinceCheck,
    TopicIdLogger,
    TopicIds,
    readable,
)
from worker.records import Partition

OLD, NEW = "P402jcnoQ9WylzsPFddaPQ", "dC2jfe5WTSC2T6o8v4J_iw"


def test_an_id_is_shown_as_kafka_prints_it_and_a_missing_id_as_an_empty_string() -> None:
    assert readable("dC2jfe5WTSC2T6o8v4J/iw") == NEW
    assert readable(NO_ID) == ""


def test_a_new_id_means_a_new_log_and_the_old_id_is_stale_from_then_on() -> None:
    ids = TopicIds()
    assert ids.check("messages", OLD) is IdCheck.SAME
    assert ids.check("messages", NEW) is IdCheck.CHANGED
    assert ids.check("messages", NEW) is IdCheck.SAME
    assert ids.check("messages", OLD) is IdCheck.STALE
    assert ids.current("messages") == NEW
    assert ids.replaced("messages") == {OLD}


def test_brokers_without_topic_ids_never_report_a_change() -> None:
    ids = TopicIds()
    assert ids.check("messages", "") is IdCheck.SAME
    assert ids.is_of_this_log("messages", "")
    assert ids.is_of_this_log("messages", OLD)


def test_a_committed_offset_is_used_only_in_the_log_whose_id_it_carries() -> None:
    ids = TopicIds()
    ids.check("messages", NEW)
    assert ids.is_of_this_log("messages", NEW)
    assert not ids.is_of_this_log("messages", OLD)


def test_a_committed_offset_without_an_id_is_used_unless_the_topic_id_has_changed() -> None:
    ids = TopicIds()
    ids.check("messages", OLD)
    assert ids.is_of_this_log("messages", "")
    ids.check("messages", NEW)
    assert not ids.is_of_this_log("messages", "")


def test_a_change_that_librdkafka_reported_causes_no_second_verdict() -> None:
    ids = TopicIds()
    ids.check("messages", OLD)
    ids.record_change("messages", OLD, NEW)
    assert "without a verdict get none (7 at the brokers' last answer). Joining" in ids.recreation_message(
        "messages", 7, 3
    )
    assert "without a verdict get none. Joining" in ids.recreation_message("messages", None, 3)


def test_a_change_that_only_the_check_found_may_cause_second_verdicts() -> None:
    ids = TopicIds()
    ids.check("messages", OLD)
    ids.check("messages", NEW)
    assert "This worker has judged 3 messages since the ids were" in ids.recreation_message("messages", None, 3)


def test_messages_are_counted_since_the_last_check_that_found_the_same_id() -> None:
    judged, here, there = JudgedSinceCheck(), Partition("messages", 0), Partition("others", 0)
    assert judged.count("messages", {here: 5}) == 0
    judged.begin_check({here: 5, there: 5})
    judged.same_id("messages")
    judged.begin_check({here: 8, there: 8})  # no answer yet
    assert judged.count("messages", {here: 12, there: 12}) == 7
    judged.same_id("messages")
    assert judged.count("messages", {here: 12, there: 12}) == 4


def changes_in(config: dict[str, str], *lines: tuple[str, str]) -> tuple[list[tuple[str, str, str]], TopicIds]:
    changes: list[tuple[str, str, str]] = []
    logger = TopicIdLogger(config, lambda *change: changes.append(change))
    for facility, line in lines:
        logger.log(logging.DEBUG, "%s [%s] %s", facility, "rdkafka#consumer-1", line)
    return changes, TopicIds()


def test_a_new_id_is_found_in_the_client_s_log() -> None:
    line = "[thrd:main]: Topic messages changed id from P402jcnoQ9WylzsPFddaPQ to dC2jfe5WTSC2T6o8v4J/iw"
    [change], ids = changes_in({}, ("METADATA", line), ("METADATA", "Topic messages partition 0 Leader 1 Epoch 0"))
    assert change == ("messages", OLD, NEW)
    assert ids.record_change(*change)
    assert not ids.record_change(*change), "a change is reported once"
    assert ids.check("messages", OLD) is IdCheck.STALE


def test_an_id_that_a_broker_with_old_metadata_gives_the_client_again_is_not_a_change() -> None:
    ids = TopicIds()
    assert ids.record_change("messages", OLD, NEW)
    assert not ids.record_change("messages", NEW, OLD)
    assert ids.current("messages") == NEW
    assert not ids.record_change("messages", OLD, NEW)


def test_the_first_id_of_a_topic_is_not_a_change() -> None:
    line = f"[thrd:main]: Topic messages changed id from {NO_ID} to dC2jfe5WTSC2T6o8v4J/iw"
    [change], ids = changes_in({}, ("METADATA", line))
    assert not ids.record_change(*change)


def test_debug_lines_reach_the_log_only_if_the_settings_ask_for_them(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "librdkafka"):
        changes_in({}, ("TOPIC", "quiet"))
        changes_in({"debug": "cgrp"}, ("TOPIC", "loud"))
    assert "quiet" not in caplog.text
    assert "loud" in caplog.text
    assert TopicIdLogger({"debug": "cgrp"}, lambda *_: None).debug == "cgrp,metadata"
