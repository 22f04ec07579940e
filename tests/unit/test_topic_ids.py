"""Which log a topic's name stands for."""

import logging

import pytest

from worker.kafka.topic_ids import (
    NO_ID,
    IdCheck,
    JudgedSinceCheck,
    TopicIdLogger,
    TopicIds,
    readable,
    stamp,
    stamped,
)
from worker.records import Partition

OLD, NEW = "P402jcnoQ9WylzsPFddaPQ", "dC2jfe5WTSC2T6o8v4J_iw"


def test_an_offset_carries_the_id_of_its_topic() -> None:
    assert stamped(stamp(OLD)) == OLD
    assert stamped(stamp("")) == stamped(None) == stamped("of another tool") == ""


def test_an_id_reads_as_kafka_prints_it_and_none_reads_as_nothing() -> None:
    assert readable("dC2jfe5WTSC2T6o8v4J/iw") == NEW
    assert readable(NO_ID) == ""


def test_a_new_id_is_a_new_log_and_an_old_one_never_comes_back() -> None:
    ids = TopicIds()
    assert ids.check("messages", OLD) is IdCheck.SAME
    assert ids.check("messages", NEW) is IdCheck.CHANGED
    assert ids.check("messages", NEW) is IdCheck.SAME
    assert ids.check("messages", OLD) is IdCheck.STALE
    assert ids.current("messages") == NEW
    assert ids.replaced("messages") == {OLD}


def test_brokers_that_give_topics_no_ids_change_nothing() -> None:
    ids = TopicIds()
    assert ids.check("messages", "") is IdCheck.SAME
    assert ids.is_of_this_log("messages", None)
    assert ids.is_of_this_log("messages", stamp(OLD))


def test_a_committed_offset_is_used_only_in_the_log_whose_id_it_carries() -> None:
    ids = TopicIds()
    ids.check("messages", NEW)
    assert ids.is_of_this_log("messages", stamp(NEW))
    assert not ids.is_of_this_log("messages", stamp(OLD))


def test_a_committed_offset_without_an_id_is_used_unless_the_topic_was_seen_to_change() -> None:
    ids = TopicIds()
    ids.check("messages", OLD)
    assert ids.is_of_this_log("messages", "")
    ids.check("messages", NEW)
    assert not ids.is_of_this_log("messages", "")


def test_what_librdkafka_reported_in_time_costs_no_second_verdict() -> None:
    ids = TopicIds()
    ids.check("messages", OLD)
    ids.record_change("messages", OLD, NEW)
    assert "without a verdict get none (7 at the brokers' last answer). Joining" in ids.recreation_message(
        "messages", 7, 3
    )
    assert "without a verdict get none. Joining" in ids.recreation_message("messages", None, 3)


def test_what_only_a_comparison_found_may_cost_second_verdicts() -> None:
    ids = TopicIds()
    ids.check("messages", OLD)
    ids.check("messages", NEW)
    assert "This worker has judged 3 messages since the ids were" in ids.recreation_message("messages", None, 3)


def test_messages_are_counted_from_the_last_time_that_the_id_was_the_same() -> None:
    judged, here, there = JudgedSinceCheck(), Partition("messages", 0), Partition("others", 0)
    assert judged.count("messages", {here: 5}) == 0
    judged.begin_check({here: 5, there: 5})
    judged.same_id("messages")
    judged.begin_check({here: 8, there: 8})  # no answer yet
    assert judged.count("messages", {here: 12, there: 12}) == 7
    judged.same_id("messages")
    assert judged.count("messages", {here: 12, there: 12}) == 4


def heard(config: dict[str, str], *lines: tuple[str, str]) -> tuple[list[tuple[str, str, str]], TopicIds]:
    changes: list[tuple[str, str, str]] = []
    told = TopicIdLogger(config, lambda *change: changes.append(change))
    for facility, line in lines:
        told.log(logging.DEBUG, "%s [%s] %s", facility, "rdkafka#consumer-1", line)
    return changes, TopicIds()


def test_a_new_id_is_heard_in_the_client_s_log() -> None:
    line = "[thrd:main]: Topic messages changed id from P402jcnoQ9WylzsPFddaPQ to dC2jfe5WTSC2T6o8v4J/iw"
    [change], ids = heard({}, ("METADATA", line), ("METADATA", "Topic messages partition 0 Leader 1 Epoch 0"))
    assert change == ("messages", OLD, NEW)
    assert ids.record_change(*change)
    assert not ids.record_change(*change), "it is told once"
    assert ids.check("messages", OLD) is IdCheck.STALE


def test_the_first_id_is_no_change() -> None:
    line = f"[thrd:main]: Topic messages changed id from {NO_ID} to dC2jfe5WTSC2T6o8v4J/iw"
    [change], ids = heard({}, ("METADATA", line))
    assert not ids.record_change(*change)


def test_debug_lines_reach_the_log_only_when_they_were_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "librdkafka"):
        heard({}, ("TOPIC", "quiet"))
        heard({"debug": "cgrp"}, ("TOPIC", "loud"))
    assert "quiet" not in caplog.text
    assert "loud" in caplog.text
    assert TopicIdLogger({"debug": "cgrp"}, lambda *_: None).debug == "cgrp,metadata"
