"""Any input gives exactly the outputs of the contract: the pure path from bytes to bytes, with the demo model.

``HOSTILE_CASES`` says how many messages, ``HOSTILE_SEED`` which.
"""

import json
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Literal

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas import dead_letter
from tests.damaged_events import mutated
from tests.hostile import CANARY, HUGE_PIECES, MEGABYTE, SPECIAL_TOKENS, Case, cases, huge, written
from tests.shapes import of_text, plain
from tests.small_models import options
from worker.classifier import Classifier, load
from worker.moderation.cache import ScoreCache
from worker.moderation.cached_scoring import score_batch
from worker.moderation.outputs import OutputBuilder
from worker.moderation.policies import Policy
from worker.moderation.preprocessing import prepare
from worker.moderation.shapes import ReadRecord, compile_shape, load_shape
from worker.moderation.text_rows import first_rows_only
from worker.moderation.trace_context import trace_context_of
from worker.records import ConsumedRecord, OutputRecord, Skipped, Topic

CASES = int(os.environ.get("HOSTILE_CASES", "10000"))
SEED = int(os.environ.get("HOSTILE_SEED", "1"))
CHUNK_RECORDS = 250
TOKENS_MAX = 64  # fewer tokens, so that more messages are tested in a second
READ = plain()
SCHEMAS = {
    topic: Draft202012Validator(json.loads(path.read_bytes()))
    for topic in Topic
    for path in Path(__file__).parents[2].glob(f"schemas/v1/{topic.value.replace(' ', '-')}.schema.json")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The settings that decide which outputs a message has."""

    read: ReadRecord = READ
    threshold: float = 0.5
    alert_text: Literal["none", "full"] = "none"
    record_bytes_max: int = 1_000_000


SETUPS = {
    "as delivered": Setup(),
    "alerts with texts for all": Setup(threshold=0, alert_text="full"),
    "the value is the text": Setup(read=of_text(), threshold=0, alert_text="full"),
    "no room for much": Setup(threshold=0, alert_text="full", record_bytes_max=4000),
}


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load(options("demo", tokens_max=TOKENS_MAX), lambda _: None)


def judged(sources: Sequence[ConsumedRecord], setup: Setup, classifier: Classifier) -> list[OutputRecord]:
    """Process a message like the worker, without Kafka and threads."""
    cache = ScoreCache(bytes_max=1_000_000)
    records = prepare(
        sources, read=setup.read, encode=first_rows_only(classifier.encode, 128 * TOKENS_MAX), cache=cache
    )
    outputs = OutputBuilder(
        model={"name": "demo", "revision": "r", "commit": None, "dtype": "float32"},
        policy=Policy.of(setup.threshold, alert_text=setup.alert_text),
        read=setup.read,
        record_bytes_max=setup.record_bytes_max,
        worker_version="0.1.0",
    )
    return outputs.build(score_batch(classifier, records, cache), judged_at="2026-01-31T09:30:00.250Z")


# ---- expected outputs --------------------------------------------------------------------------------------------


def wrongs(case: Case, outputs: Sequence[OutputRecord], setup: Setup) -> list[str]:
    """Yield what is wrong with the outputs of a message."""
    if case.value is None or (case.value == b"[]" and setup is not SETUPS["the value is the text"]):
        return [] if not outputs else ["a tombstone and an empty array owe nothing"]
    if [one.topic for one in outputs] == [Topic.DEAD_LETTER]:
        facts = {"what a user types is judged": not case.typed, **_of_a_letter(case, outputs[0], setup)}
    else:
        facts = _of_a_verdict(case, outputs)
    facts["every output is within its bound"] = all(_bytes(one) <= setup.record_bytes_max for one in outputs)
    facts["the key is the input's"] = all(one.key in {case.key, None} for one in outputs)
    return [what for what, so in facts.items() if not so]


def _of_a_verdict(case: Case, outputs: Sequence[OutputRecord]) -> dict[str, bool]:
    documents = [orjson.loads(one.value or b"") for one in outputs]
    owed = [Topic.VERDICT, Topic.ALERT] if documents and documents[0]["flagged"] else [Topic.VERDICT]
    context = trace_context_of(case.headers)
    headers = [*(context.headers if context else ()), ("content-type", b"application/json")]
    return {
        "one verdict, and an alert if it is flagged": [one.topic for one in outputs] == owed,
        "values are as their schemas say": all(
            SCHEMAS[one.topic].is_valid(document) for one, document in zip(outputs, documents, strict=True)
        ),
        "of the headers a valid trace context is passed on": all(list(one.headers) == headers for one in outputs),
        "the verdict is under the input's key": all(one.key == case.key for one in outputs),
        "the timestamp is passed on": all(one["source"]["timestamp_ms"] == case.timestamp_ms for one in documents),
    }


def _of_a_letter(case: Case, letter: OutputRecord, setup: Setup) -> dict[str, bool]:
    ours = [(name, value or b"") for name, value in letter.headers if name.startswith(dead_letter.PREFIX)]
    said = {name: value.decode() for name, value in ours}
    missing = said.pop("moderation.error.truncated", "").split(",")
    input_headers = [(name, value) for name, value in case.headers if not name.lower().startswith("moderation.")]
    kept = [] if "headers" in missing else input_headers
    whole = _bytes(case) + sum(len(name) + len(value) for name, value in said.items())
    whole -= sum(len(n.encode()) + len(v or b"") for n, v in case.headers if (n, v) not in input_headers)
    return {
        "our headers are as their schema says": SCHEMAS[Topic.DEAD_LETTER].is_valid(said),
        "no header of ours is forged": len(ours) == len(dict(ours)) and list(letter.headers) == kept + ours,
        "the input is to blame": said["moderation.error.reason"] in dead_letter.INPUT_REASONS,
        "our words hold nothing of the text": CANARY not in str(said),
        "nothing is missing that there is room for": (missing == [""]) == (whole <= setup.record_bytes_max),
        "the value is the original, to the byte": letter.value == (None if "value" in missing else case.value),
        "the key is the original, to the byte": letter.key == (None if "key" in missing else case.key),
    }


def _bytes(record: OutputRecord | Case) -> int:
    headers_bytes = sum(len(name.encode()) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers_bytes


# ---- many ----------------------------------------------------------------------------------------------------


def chunks(messages: Iterator[Case]) -> Iterator[list[Case]]:
    while chunk := list(islice(messages, CHUNK_RECORDS)):
        yield chunk


@pytest.mark.slow
@pytest.mark.parametrize("name", SETUPS)
def test_every_message_has_exactly_its_outputs(name: str, classifier: Classifier) -> None:
    setup = SETUPS[name]
    seed = f"{SEED}, {name}"
    for number, chunk in enumerate(chunks(cases(seed, CASES // len(SETUPS)))):
        first = number * CHUNK_RECORDS
        print(f"seed {seed}: messages from {first}")  # noqa: T201 - to find the failing message again
        outputs = judged([case.at(first + place) for place, case in enumerate(chunk)], setup, classifier)
        answers = {offset: list(its) for offset, its in groupby(outputs, lambda one: one.source.offset)}
        assert list(answers) == sorted(answers)
        for offset, case in enumerate(chunk, first):
            assert wrongs(case, answers.get(offset, []), setup) == [], f"message {offset}: {case.kind}"


@pytest.mark.slow
def test_ten_megabytes_of_anything_are_judged_within_the_bound_and_are_dead_letters_beyond_it(
    classifier: Classifier,
) -> None:
    for piece in HUGE_PIECES:
        case = Case(kind=piece, typed=True, key=None, value=huge(piece), headers=[], timestamp_ms=None)
        roomy = Setup(read=plain(bytes_max=16 * MEGABYTE))
        outputs = judged([case.at(7)], roomy, classifier)
        assert wrongs(case, outputs, roomy) == []
        assert orjson.loads(outputs[0].value or b"")["input"]["truncated"]
        [letter] = judged([case.at(7)], Setup(), classifier)
        assert ("moderation.error.reason", b"too_large") in letter.headers
        assert ("moderation.error.truncated", b"value") in letter.headers


# ---- platforms -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["discord", "slack"])
def test_every_damaged_event_of_a_platform_has_exactly_its_outputs(name: str, classifier: Classifier) -> None:
    setup = Setup(read=compile_shape(load_shape(name)), threshold=0, alert_text="full")
    for number, chunk in enumerate(chunks(_damaged(name, CASES // len(SETUPS)))):
        first = number * CHUNK_RECORDS
        outputs = judged([case.at(first + place) for place, case in enumerate(chunk)], setup, classifier)
        answers = {offset: list(its) for offset, its in groupby(outputs, lambda one: one.source.offset)}
        for offset, case in enumerate(chunk, first):
            reading = setup.read(case.value or b"", case.headers)
            answer = answers.get(offset, [])
            if isinstance(reading, Skipped):
                assert answer == []
            elif not isinstance(reading, tuple):
                assert wrongs(case, answer, setup) == [], f"event {offset} of {name}, seed {SEED}"


def _damaged(name: str, count: int) -> Iterator[Case]:
    for number in range(count):
        value = mutated(name, number, random.Random(f"{SEED}:{name}:{number}"))  # noqa: S311 - the same every time
        yield Case(kind=name, typed=False, key=b"channel", value=value, headers=[], timestamp_ms=1)


# ---- what a user types ---------------------------------------------------------------------------------------

ANY = st.text(st.characters(exclude_categories=()))  # including surrogates
TYPED = st.lists(ANY | st.sampled_from(SPECIAL_TOKENS)).map("".join)


@given(said=TYPED, escaped=st.booleans())
@example(said="half an emoji: \ud83d", escaped=True)
@example(said="\ude00\ud83d", escaped=False)
@example(said="\\ud83d is text, \ud83d is none", escaped=True)
@example(said="\\\ud83d", escaped=True)
@example(said="\0", escaped=False)
@example(said="\u2003\x1f", escaped=True)
def test_a_text_is_judged_as_the_user_typed_it(said: str, *, escaped: bool, classifier: Classifier) -> None:
    setup = SETUPS["alerts with texts for all"]
    case = Case(
        kind="typed",
        typed=True,
        key=None,
        value=written(said, escaped=escaped),
        headers=[],
        timestamp_ms=None,
    )
    outputs = judged([case.at(0)], setup, classifier)
    assert wrongs(case, outputs, setup) == []
    verdict, *alerts = (orjson.loads(one.value or b"") for one in outputs)
    # A pair of surrogates is one character. A lone surrogate becomes U+FFFD.
    read = said.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert verdict["input"]["characters"] == len(read)
    if read.strip():
        assert [alert["text"] for alert in alerts] == [read]
    else:
        assert (verdict["flagged"], verdict["max_score"], verdict["input"]["tokens"]) == (False, 0, 0)


@given(value=st.binary(), key=st.none() | st.binary(), names=st.lists(st.text()), data=st.data())
def test_any_bytes_have_exactly_their_outputs(
    value: bytes, key: bytes | None, names: list[str], data: st.DataObject, classifier: Classifier
) -> None:
    headers = [(name, data.draw(st.none() | st.binary())) for name in names]
    for setup in SETUPS.values():
        case = Case(kind="any", typed=False, key=key, value=value, headers=headers, timestamp_ms=-1)
        assert wrongs(case, judged([case.at(0)], setup, classifier), setup) == []
