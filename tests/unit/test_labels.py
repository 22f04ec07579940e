"""`labels join`: what a decision may be, how it finds its text, and what is reported; without a broker."""

import json
import os
import re
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas.labels import CATEGORY_SLUGS
from tests.shapes import plain
from tests.stored_verdicts import stored_verdict
from worker.commands.evaluate.labelled_texts import read_json_lines
from worker.commands.labels.decisions import DecisionSource, ModeratorDecision, ModeratorDecisions, decision_of
from worker.commands.labels.joining import (
    FoundRecord,
    NotJoined,
    PlacedDecision,
    drop_unreadable,
    labelled_lines,
    placed,
    sources_of_verdicts,
    wanted_ids,
)
from worker.commands.labels.private_file import private_file
from worker.commands.labels.stretches import GAP_RECORDS_MAX, Stretch, rounds, stretches
from worker.errors import ConfigurationError
from worker.records import Partition

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads((ROOT / "schemas/v1/decision.schema.json").read_bytes())
SCHEMA = Draft202012Validator(DOCUMENT)
SOURCE = {"topic": "chat.messages", "partition": 0, "offset": 7}
CHAT = Partition("chat.messages", 0)
TEXT = "a text that nobody may print"


def decision(**fields: Any) -> bytes:
    return json.dumps({"labels": {"hate": False}, **fields}).encode()


@pytest.mark.parametrize(
    "document",
    [
        {"verdict_id": "a" * 32, "labels": {"hate": True, "privacy": None}},
        {
            "source": {**SOURCE, "item": 3, "timestamp_ms": 5, "more": 1},
            "unsafe": True,
            "group": "g",
            "moderator": 9,
        },
        {"source": {**SOURCE, "item": None}, "labels": {}, "language": "de"},
    ],
)
def test_a_decision_names_a_message_and_its_labels(document: Any) -> None:
    SCHEMA.validate(document)
    assert isinstance(decision_of(json.dumps(document).encode()), ModeratorDecision)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"{", "is not JSON"),
        (b"[]", "valid dictionary"),
        (b'{"labels": {"hate": true}}', "wants verdict_id or source"),
        (b'{"verdict_id": "a"}', "wants labels or unsafe"),
        (b'{"verdict_id": "a", "labels": {"rudeness": true}}', "labels.rudeness"),
        (b'{"verdict_id": "a", "labels": {"hate": "yes"}}', "labels.hate"),
        (b'{"verdict_id": "a", "labels": {"hate": true}, "unsafe": false}', "unsafe is false"),
        (b'{"source": {"topic": "t", "partition": 0}, "unsafe": true}', "source.offset"),
        (b'{"source": {"topic": "t", "partition": 2147483648, "offset": 0}, "unsafe": true}', "source.partition"),
    ],
)
def test_what_is_not_a_decision_is_said_with_the_field_and_without_its_value(value: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        decision_of(value)
    with pytest.raises(ValueError, match=re.escape("labels.hate")) as refusal:
        decision_of(decision(verdict_id="a", labels={"hate": TEXT}))
    assert TEXT not in str(refusal.value)


def test_a_decision_may_repeat_a_text_with_half_an_emoji() -> None:
    found = decision_of(b'{"verdict_id": "a", "unsafe": true, "text": "\\ud83d", "group": "half \\ud83d"}')
    assert found.group == "half \ufffd"
    with pytest.raises(ValueError, match=r"labels"):
        decision_of(b'{"verdict_id": "a", "labels": {"\\ud83d": true}}')


def test_the_schema_names_the_categories_of_the_model_card() -> None:
    names = DOCUMENT["properties"]["labels"]["anyOf"][0]["propertyNames"]["enum"]
    assert tuple(names) == CATEGORY_SLUGS


def test_a_later_decision_on_a_message_replaces_an_earlier_one_and_bad_lines_are_kept_with_their_place() -> None:
    found = ModeratorDecisions.of(
        [
            ("f:1", decision(verdict_id="a")),
            ("f:2", b"nonsense"),
            ("f:3", decision(verdict_id="a", labels={"hate": True})),
            ("f:4", decision(source=SOURCE)),
        ]
    )
    assert found.replaced == 1
    assert found.faults == ["f:2: is not JSON; wants an object a line"]
    assert found.by_target["a"].labels == {"hate": True}
    assert list(wanted_ids(found)) == ["a"]


def test_the_latest_decision_counts_when_a_message_is_named_by_source_by_verdict_and_by_source_again() -> None:
    decisions = ModeratorDecisions.of(
        [
            ("f:1", decision(source=SOURCE)),
            ("f:2", decision(verdict_id="a")),
            ("f:3", decision(source=SOURCE, labels={"hate": True})),
        ]
    )
    found = placed(decisions, {"a": DecisionSource.model_validate(SOURCE)}, ["chat.messages"], NotJoined())
    assert [one.decision.labels for one in found[CHAT][7]] == [{"hate": True}]


@pytest.mark.parametrize("source", [{}, {"source": 5}, {"source": {**SOURCE, "offset": "7"}}])
def test_a_verdict_whose_source_names_no_record_has_no_source(source: Any) -> None:
    wanted = wanted_ids(ModeratorDecisions.of([("f:1", decision(verdict_id="a"))]))
    assert sources_of_verdicts(wanted, [[json.dumps({"verdict_id": "a", **source}).encode()]]) == {"a": None}


def test_a_verdict_gives_the_source_and_two_ways_to_name_a_message_are_one_message() -> None:
    decisions = ModeratorDecisions.of(
        [
            ("f:1", decision(verdict_id="a")),
            ("f:2", decision(source={**SOURCE, "timestamp_ms": None})),
            ("f:3", decision(verdict_id="classified")),
            ("f:4", decision(verdict_id="unknown")),
            ("f:5", decision(source={**SOURCE, "topic": "secrets"})),
        ]
    )
    verdicts = [stored_verdict(7, {}, verdict_id="a"), stored_verdict(None, {}, verdict_id="classified")]
    chunk = [b"not a verdict", b"[]", *(json.dumps(one).encode() for one in verdicts)]
    sources = sources_of_verdicts(wanted_ids(decisions), [chunk])
    not_joined = NotJoined()
    found = placed(decisions, sources, ["chat.messages"], not_joined)
    assert {one: sorted(by_offset) for one, by_offset in found.items()} == {CHAT: [7]}
    assert len(found[CHAT][7]) == decisions.replaced == 1
    assert not_joined.counts == {"no_source": 1, "unknown_verdict": 1, "other_topic": 1}
    assert not_joined.examples["other_topic"] == ["secrets:0:7"]


def test_reading_the_verdicts_ends_when_all_wanted_ones_are_found() -> None:
    wanted = wanted_ids(ModeratorDecisions.of([("f:1", decision(verdict_id="a"))]))

    def chunks() -> Any:
        yield [json.dumps(stored_verdict(7, {}, verdict_id="a")).encode()]
        raise AssertionError("read on")

    assert list(sources_of_verdicts(wanted, chunks())) == ["a"]


def lines(value: bytes | None, *, time_ms: int | None = None, **source: Any) -> tuple[list[Any], dict[str, int]]:
    one = PlacedDecision(decision_of(decision(source=SOURCE)), DecisionSource.model_validate({**SOURCE, **source}))
    not_joined = NotJoined()
    record = FoundRecord(timestamp_ms=time_ms, value=value, headers=())
    made = [json.loads(line) for line in labelled_lines([one], record, plain(), not_joined)]
    return made, dict(not_joined.counts)


def test_a_line_has_the_text_the_labels_and_the_source_and_evaluate_reads_it(tmp_path: Path) -> None:
    [line], _ = lines(json.dumps({"text": TEXT}).encode(), time_ms=5, timestamp_ms=5)
    assert line == {"text": TEXT, "labels": {"hate": False}, "source": {**SOURCE, "timestamp_ms": 5}}
    (tmp_path / "labelled.jsonl").write_text(json.dumps(line))
    [read] = read_json_lines(tmp_path / "labelled.jsonl")
    assert (read.text, read.labels) == (TEXT, {"hate": False})


def test_an_element_of_an_array_is_named_by_its_number() -> None:
    array = json.dumps([{"text": "first"}, {"text": "second"}]).encode()
    assert lines(array, item=1)[0][0]["text"] == "second"
    for value, item in ((array, None), (array, 2), (b'{"text": "no array"}', 0)):
        assert lines(value, item=item) == ([], {"no_element": 1})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no_message"),
        (b"not JSON", "no_message"),
        (b'{"body": "no text"}', "no_message"),
        (b'{"text": " "}', "blank"),
    ],
)
def test_a_record_without_a_text_is_counted_with_the_reason(value: bytes | None, reason: str) -> None:
    assert lines(value) == ([], {reason: 1})


def test_another_time_means_another_record() -> None:
    assert lines(b'{"text": "hello"}', time_ms=6, timestamp_ms=5) == ([], {"another_record": 1})


def test_offsets_before_the_log_have_expired_and_offsets_after_it_are_not_there() -> None:
    given = [(f"f:{n}", decision(source={**SOURCE, "offset": offset})) for n, offset in enumerate((3, 9, 12))]
    not_joined = NotJoined()
    found = placed(ModeratorDecisions.of(given), {}, ["chat.messages"], not_joined)
    drop_unreadable(found, {CHAT: Stretch(5, 10)}, not_joined)
    assert {partition: list(by_offset) for partition, by_offset in found.items()} == {CHAT: [9]}
    assert not_joined.counts == {"expired": 1, "no_record": 1}


@given(st.sets(st.integers(0, 5_000), max_size=50))
def test_stretches_cover_all_offsets_and_only_gaps_up_to_the_bound(offsets: set[int]) -> None:
    found = list(stretches(offsets))
    assert {one for one in offsets if any(begin <= one < end for begin, end in found)} == offsets
    assert all(begin in offsets and end - 1 in offsets for begin, end in found)
    assert all(after.begin - before.end >= GAP_RECORDS_MAX for before, after in pairwise(found))


def test_a_round_has_one_stretch_of_each_partition() -> None:
    other = Partition("chat.messages", 1)
    assert list(rounds({CHAT: {1, 2, 10_000}, other: {5}})) == [
        {CHAT: Stretch(1, 3), other: Stretch(5, 6)},
        {CHAT: Stretch(10_000, 10_001)},
    ]


def test_only_the_owner_can_read_the_file_and_an_error_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    path.write_text("old")
    path.chmod(0o644)

    def fail() -> None:
        with private_file(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    with private_file(path) as file:
        file.write(b"new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_texts_are_not_written_to_a_terminal_a_device_or_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("-"), tmp_path, tmp_path / "link", tmp_path / "pipe"):
        with pytest.raises(ConfigurationError, match="is not a file"), private_file(path):
            pass
    assert not (tmp_path / "target").exists()
