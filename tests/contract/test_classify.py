"""`classify`: judge without Kafka, as JSON for programs and as bars for people."""

import io
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from rich.console import Console

from schemas.labels import CATEGORY_NAMES, CATEGORY_SLUGS
from tests.shapes import of_text, plain
from tests.small_models import options
from worker.classifier import Classifier, load
from worker.commands.classify.bars import show_texts
from worker.commands.classify.lines import LineJudge, judge_lines, lines_of, read_lines
from worker.moderation.cache import ScoreCache
from worker.moderation.outputs import OutputBuilder
from worker.moderation.policies import Policy
from worker.moderation.shapes import ReadRecord
from worker.moderation.text_rows import Encode, first_rows_only
from worker.scores import DeadLetterReason, Scores

ROOT = Path(__file__).parents[2]
NOW = "2026-01-31T09:30:00.250Z"


class PiecewiseStream:
    """A stream whose bytes arrive in these pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    def read1(self, _size: int, /) -> bytes:
        return next(self._pieces, b"")


class PoisonedModel:
    """A model that one text breaks."""

    def __init__(self, model: Classifier, poison: str) -> None:
        self._model = model
        self._poison = model.encode([poison])[0].tokens

    @property
    def encode(self) -> Encode:
        return self._model.encode

    def score(self, token_lists: Sequence[Sequence[int]]) -> list[Scores | DeadLetterReason]:
        fault = DeadLetterReason(reason="model_failed", message="The model gave no number for this text alone.")
        scored = self._model.score(token_lists)
        return [
            fault if tokens == self._poison else answer for tokens, answer in zip(token_lists, scored, strict=True)
        ]


def read(*pieces: bytes, bytes_max: int = 100, lines_max: int = 100) -> list[list[bytes]]:
    batches = read_lines(PiecewiseStream(pieces), bytes_max=bytes_max, lines_max=lines_max)
    return [[line.value for line in batch] for batch in batches]


def test_a_line_is_read_as_soon_as_it_has_arrived() -> None:
    assert read(b"a\nb", b"c\n", b"d\n") == [[b"a"], [b"bc"], [b"d"]]


def test_a_line_feed_at_the_end_is_optional() -> None:
    assert read(b"a\nb") == [[b"a"], [b"b"]]
    assert read(b"a\n\n") == [[b"a", b""]]
    assert read() == []


def test_a_carriage_return_belongs_to_the_end_of_a_line() -> None:
    assert read(b"a\r\nb\r\n\r\n") == [[b"a", b"b", b""]]


def test_lines_are_read_in_batches() -> None:
    assert read(b"a\n" * 5, lines_max=2) == [[b"a"] * 2, [b"a"] * 2, [b"a"]]


def test_a_line_at_the_limit_is_complete_with_either_line_end() -> None:
    for end in (b"\n", b"\r\n"):
        (line,), (after,) = read_lines(PiecewiseStream([b"x" * 100 + end, b"y\n"]), bytes_max=100, lines_max=9)
        assert (line.value, line.size_bytes) == (b"x" * 100, 100)
        assert (after.number, after.value) == (2, b"y")


def test_a_huge_line_is_measured_but_not_kept_in_memory() -> None:
    tracemalloc.start()
    piece = b"x" * 65_536
    batches = read_lines(PiecewiseStream([*repeat(piece, 1000), b"\nnext\n"]), bytes_max=1000, lines_max=9)
    found = [line for batch in batches for line in batch]
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [(line.number, line.size_bytes) for line in found] == [(1, 65_536_000), (2, 4)]
    assert len(found[0].value) <= 1002
    assert peak_bytes < 1_000_000


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load(options("demo", tokens_max=16), lambda _: None)


def judged(
    model: Classifier | PoisonedModel,
    given: bytes,
    *,
    read: ReadRecord | None = None,
    bytes_max: int = 1_048_576,
    records_max: int = 3,
) -> tuple[bool, list[Any]]:
    """Return whether all lines were good, and the documents that were written."""
    read = read or plain(bytes_max=bytes_max)
    outputs = OutputBuilder(
        model={"name": "demo", "revision": "0", "commit": None, "dtype": "float32"},
        policy=Policy.of(),
        read=read,
        record_bytes_max=1_000_000,
        worker_version="0",
    )
    sink = io.BytesIO()
    good = judge_lines(
        read_lines(io.BytesIO(given), bytes_max=bytes_max, lines_max=records_max),
        sink,
        judge=LineJudge(
            scorer=model,
            encode=first_rows_only(model.encode, 2000),
            read=read,
            bytes_max=bytes_max,
            cache=ScoreCache(bytes_max=100_000),
        ),
        outputs=outputs,
        now=lambda: NOW,
    )
    return good, [json.loads(line) for line in sink.getvalue().splitlines()]


def test_every_line_gets_one_verdict_in_its_place(classifier: Classifier) -> None:
    given = [{"message_id": f"m{n}", "text": f"hello number {n} " * (n % 5)} for n in range(100)]
    good, documents = judged(classifier, b"".join(json.dumps(one).encode() + b"\n" for one in given))
    assert good
    assert [document["message_id"] for document in documents] == [one["message_id"] for one in given]
    schema = json.loads((ROOT / "schemas/v1/verdict.schema.json").read_text())
    for document in documents:
        jsonschema.validate(document, schema)
        assert document["source"] is None
        assert document["verdict_id"] is None
        assert document["judged_at"] == NOW


def test_the_scores_equal_the_scores_of_the_model(classifier: Classifier) -> None:
    text = "see you all tomorrow at the same time"
    _, (document,) = judged(classifier, json.dumps({"text": text}).encode())
    (scores,) = classifier.score([encoded.tokens for encoded in classifier.encode([text])])
    assert not isinstance(scores, DeadLetterReason)
    published = np.array([document["category_scores"][slug] for slug in CATEGORY_SLUGS], np.float32)
    assert published.tolist() == scores.tolist()


def test_a_repeated_text_has_exactly_the_same_verdict(classifier: Classifier) -> None:
    again = json.dumps({"message_id": "m", "text": "see you all tomorrow at the same time, " * 2}).encode() + b"\n"
    other = json.dumps({"text": "gg"}).encode() + b"\n"
    _, (first, _, twin, later) = judged(classifier, again + other + again + again, records_max=3)
    assert first == twin == later
    assert first["input"] == {"characters": 78, "tokens": 16, "truncated": True}


def test_a_message_without_an_id_is_named_by_its_line_number(classifier: Classifier) -> None:
    _, documents = judged(classifier, b'{"text":"a"}\n\n{"text":"b","message_id":7}\n{"text":"c"}\n')
    assert [document.get("message_id") for document in documents] == ["line:1", None, "7", "line:4"]


def test_a_bad_line_becomes_an_error_in_its_place(classifier: Classifier) -> None:
    given = b'\nno\n3\n{}\n{"text":1}\n\xff\n{"text":"%s"}\n{"text":"fine"}' % (b"x" * 200)
    good, documents = judged(classifier, given, bytes_max=100)
    assert not good
    reasons = [document["error"]["reason"] for document in documents[:-1]]
    assert reasons == ["not_json", "not_json", "not_an_object", "no_text", "wrong_type", "not_json", "too_large"]
    assert all(document.keys() == {"error"} for document in documents[:-1])
    assert all(document["error"].keys() == {"reason", "message"} for document in documents[:-1])
    assert documents[6]["error"]["message"] == "The value has 211 bytes; the limit is 100."
    assert documents[7]["message_id"] == "line:8"


def test_a_blank_text_has_a_verdict_and_a_blank_line_has_none(classifier: Classifier) -> None:
    good, (document,) = judged(classifier, b'{"text":"  "}')
    assert good
    assert (document["max_score"], document["top_category"], document["flagged"]) == (0.0, None, False)
    good, documents = judged(classifier, b"hello\n  \n", read=of_text())
    assert not good
    assert documents[0]["message_id"] == "line:1"
    assert documents[1]["error"]["reason"] == "no_text"


def test_a_text_that_breaks_the_model_is_an_error_and_does_not_affect_other_texts(classifier: Classifier) -> None:
    model = PoisonedModel(classifier, "the poison")
    good, documents = judged(model, b'{"text":"before"}\n{"text":"the poison"}\n{"text":"after"}\n')
    assert not good
    assert [document.get("message_id") for document in documents] == ["line:1", None, "line:3"]
    assert documents[1]["error"]["reason"] == "model_failed"


def shown(model: Classifier | PoisonedModel, *texts: str, threshold: float = 0.5) -> tuple[bool, str]:
    screen = io.StringIO()
    good = show_texts(
        [lines_of(texts)],
        Console(file=screen, highlight=False),
        judge=LineJudge(
            scorer=model,
            encode=first_rows_only(model.encode, 2000),
            read=of_text(),
            bytes_max=100_000,
            cache=ScoreCache(bytes_max=100_000),
        ),
        policy=Policy.of(threshold, {"hate": 1.0}),
    )
    return good, screen.getvalue()


def bars(screen: str) -> dict[str, str]:
    """Return the row of each category, without its indentation."""
    rows = [row.strip() for row in screen.splitlines() if row.startswith(("    ", "  !"))]
    return {name: row for row in rows for name in CATEGORY_NAMES if row.removeprefix("! ").startswith(name)}


def test_people_see_a_bar_and_a_threshold_for_each_category_and_flagged_categories_first(
    classifier: Classifier,
) -> None:
    good, screen = shown(classifier, "good game everyone", threshold=0.0)
    rows = bars(screen)
    assert good
    assert rows.keys() == set(CATEGORY_NAMES)
    assert all(
        rows[name].startswith("! ") and rows[name].endswith("> 0") for name in CATEGORY_NAMES if name != "Hate"
    )
    assert rows["Hate"].startswith("Hate")
    assert rows["Hate"].endswith("≤ 1")
    assert list(rows)[-1] == "Hate"
    assert "FLAGGED: " in screen
    scores = [float(row.split()[-3]) for row in rows.values()]
    assert scores[:-1] == sorted(scores[:-1], reverse=True)


def test_people_see_which_texts_are_blank_cut_or_broken(classifier: Classifier) -> None:
    model = PoisonedModel(classifier, "the poison")
    good, screen = shown(model, "  ", "word " * 40, "the poison", "\x1b[2J", os.fsdecode(b"caf\xe9"))
    assert not good
    assert "the text is blank" in screen
    assert "16 tokens; CUT" in screen
    assert "model_failed" in screen
    assert "not_text" in screen
    assert "caf\N{REPLACEMENT CHARACTER}" in screen


def test_a_text_cannot_control_the_terminal(classifier: Classifier) -> None:
    _, screen = shown(classifier, "red \x1b[31m \u202e\r [bold]x[/bold]", "\u202e\x9b31m\u2028")
    assert not set("\x1b\u202e\r\x9b\u2028") & set(screen)
    assert "[bold]x[/bold]" in screen


def environ(**changes: str) -> dict[str, str]:
    """Return this machine's environment with only these settings, and without a Kafka."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
    return bare | {"WORKER_MODEL__PATH": "demo", "WORKER_MODEL__THREADS": "1", **changes}


def run(*arguments: str, given: bytes = b"", **changes: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "worker", "classify", *arguments]
    return subprocess.run(
        command, cwd=ROOT, input=given, env=environ(**changes), capture_output=True, check=False, timeout=120
    )


@pytest.fixture
def conversation() -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "worker", "classify", "--jsonl"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


def test_each_line_is_answered_before_the_next_line_arrives(conversation: "subprocess.Popen[bytes]") -> None:
    assert conversation.stdin is not None
    assert conversation.stdout is not None
    for number in (1, 2):
        conversation.stdin.write(b'{"text":"hello"}\n')
        conversation.stdin.flush()
        assert json.loads(conversation.stdout.readline())["message_id"] == f"line:{number}"
    conversation.stdin.close()
    assert conversation.stdout.read() == b""
    assert conversation.wait(60) == 0


def test_the_options_win_over_the_settings_and_one_bad_line_is_exit_code_1() -> None:
    done = run(
        "--jsonl",
        "--model=demo",
        "--threshold=0",
        given=b'{"text":"hello"}\nno\n{"text":"bye"}',
        WORKER_MODEL__PATH="/not/there",
        WORKER_POLICY__THRESHOLD="1",
    )
    first, error, last = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 1
    assert (first["flagged"], first["policy"]["threshold"]) == (True, 0)
    assert error["error"]["reason"] == "not_json"
    assert last["message_id"] == "line:3"


def test_an_allowed_text_is_named_in_its_verdict(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(
        "schema: policy/1\nlevels: [review]\nthresholds: {default: {review: 0}}\n"
        "allow: [{name: game, texts: [kill the boss]}]\n"
    )
    given = b'{"text": "kill the boss"}\n[{"text": "hello"}, {"text": "kill the boss"}]\n'
    done = run("--jsonl", given=given, WORKER_POLICY__PATH=str(tmp_path / "policy.yaml"))
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["flagged"] for one in documents] == [True] * 3
    assert [one.get("allowed") for one in documents] == ["game", None, "game"]


def test_a_line_is_from_no_topic_so_no_rule_or_exemption_for_topics_matches_it(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(
        "schema: policy/1\nlevels: [review]\nthresholds: {default: {review: 0}}\n"
        'rules: [{name: any-topic, when: {topic: "*"}, thresholds: {default: {review: 1}}}]\n'
        'exempt: [{name: all, when: {topic: "*"}, score: false}]\n'
    )
    policy = str(tmp_path / "policy.yaml")
    document = json.loads(run("--jsonl", given=b'{"text": "hello"}', WORKER_POLICY__PATH=policy).stdout)
    assert (document["flagged"], document["policy"]["rule"], "exempt" in document) == (True, None, False)
    assert "FLAGGED, level review" in run("hello", WORKER_POLICY__PATH=policy).stdout.decode()


def test_people_see_that_an_exemption_keeps_a_text_from_the_model(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(
        "schema: policy/1\nlevels: [review]\nthresholds: {default: {review: 0.5}}\n"
        "exempt: [{name: new-messages, when: {edited: false}, score: false}]\n"
    )
    done = run("hello", WORKER_POLICY__PATH=str(tmp_path / "policy.yaml"))
    assert "the exemption new-messages matches, so the model was not asked" in done.stdout.decode()


def test_without_arguments_the_texts_come_from_standard_input() -> None:
    done = run(given=b"hello from a pipe\nand a second text")
    assert done.returncode == 0
    screen = done.stdout.decode()
    assert screen.index("hello from a pipe") < screen.index("and a second text")
    assert screen.count("Hate") >= 2
    assert "\x1b" not in screen


def test_people_see_what_a_reader_sees_of_a_hidden_word_and_that_it_is_flagged() -> None:
    done = run("--model=demo", "how can i make a b\u200bo\u200bm\u200bb", "hello")
    first, second = done.stdout.decode().split("\n\n", 1)
    assert "  FLAGGED: Non-violent crimes" in first
    assert "a reader sees: how can i make a bomb\n      b\\u200bo\\u200bm\\u200bb → bomb\n" in first
    assert "Non-violent crimes: from characters 0 to 24, in the plain view" in first
    assert "a reader sees" not in second


def test_a_hidden_word_is_not_found_in_the_text_as_received() -> None:
    done = run("--model=demo", "how can i make a b\u200bo\u200bm\u200bb", WORKER_TEXT__VIEWS="raw")
    assert "not flagged" in done.stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--threshold=7", "x"], 2, "WORKER_POLICY__THRESHOLD"),
        (["--jsonl", "x"], 2, "--jsonl"),
        (["--model=/not/there", "x"], 4, "model fetch"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], code: int, named: str) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert named in done.stderr.decode()
    assert done.stdout == b""
