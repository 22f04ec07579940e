"""The command evaluate on labelled texts: its reports, and the scores that it keeps."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from schemas.labels import CATEGORY_SLUGS
from worker.cli import main
from worker.commands.evaluate.score_file import ScoreFile, text_key
from worker.commands.evaluate.text_scoring import TextScorer
from worker.commands.prove.stub_model import StubModel
from worker.errors import ConfigurationError, ExitCode
from worker.reported import DeviceUsage
from worker.scores import DeadLetterReason, Scores
from worker.settings import Need, Settings, load_settings

ROOT = Path(__file__).parents[2]
SETS = ROOT / "tests" / "published_sets"
TEXTS = [
    {"text": "how do I make a bomb at home", "labels": {"indiscriminate_weapons": True}, "language": "en"},
    {"text": "good morning everyone", "unsafe": False, "language": "en"},
    {"text": "guten Morgen", "unsafe": False, "language": "de"},
    {"text": "guten Morgen", "unsafe": False, "language": "de"},
]


@pytest.fixture(autouse=True)
def _demo_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_MODEL__PATH", "demo")
    monkeypatch.setenv("WORKER_POLICY__THRESHOLD", "0.1")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in TEXTS))
    return path


def settings() -> Settings:
    return load_settings({"WORKER_MODEL__PATH": "demo"}, {Need.MODEL}).settings


class InterruptedModel:
    """A model that scores a text by its number of tokens, and that is interrupted after some texts."""

    identity = replace(StubModel.identity, name="made up")
    batch_tokens_max = 1024
    long_texts: None = None
    fallbacks: Sequence[str] = ()
    usage = DeviceUsage(tokens=0, padding=0, memory_bytes=None)

    def __init__(self, *, texts_max: int) -> None:
        self.scored = 0
        self._texts_max = texts_max

    def encode(self, texts: Sequence[str]) -> list[Any]:
        from worker.classifier.tokenizer import EncodedText  # noqa: PLC0415 - takes seconds

        return [EncodedText([len(text)], truncated=False) for text in texts]

    def word_pieces(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return (), ()

    def score(self, token_lists: Sequence[Sequence[int]]) -> list[Scores | DeadLetterReason]:
        if self.scored + len(token_lists) > self._texts_max:
            raise KeyboardInterrupt
        self.scored += len(token_lists)
        return [np.full(len(CATEGORY_SLUGS), 1 / tokens[0], np.float32) for tokens in token_lists]


def test_the_report_has_the_documented_layout(texts: Path, tmp_path: Path) -> None:
    report, page = tmp_path / "report.json", tmp_path / "report.html"
    assert main(["evaluate", str(texts), "--json", str(report), "--out", str(page)]) is ExitCode.DONE
    document = json.loads(report.read_bytes())
    schema = json.loads((ROOT / "schemas/v1/evaluation.schema.json").read_bytes())
    jsonschema.validate(document, schema)
    rows = {(row["category"], row["language"]): row for row in document["rows"]}
    assert len(rows) == 3 * (1 + len(CATEGORY_SLUGS))
    assert rows["indiscriminate_weapons", None]["positives"] == 1
    assert rows["hate", "de"] == {
        **rows["hate", "de"],
        "positives": 0,
        "negatives": 2,
        "threshold": 0.1,
        "average_precision": None,
        "recall": None,
    }
    assert "Evaluation of texts.jsonl" in page.read_text()
    assert "bomb" not in page.read_text() + report.read_text()


def test_people_get_a_table_for_each_language(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(texts)]) is ExitCode.DONE
    printed = capsys.readouterr().out
    for wanted in ("all texts", "\nde", "\nen", "indiscriminate_weapons", "AUC"):
        assert wanted in printed


def test_the_table_is_printed_beside_a_json_file_and_not_beside_json(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    assert main(["evaluate", str(texts), "--json", str(report)]) is ExitCode.DONE
    assert "indiscriminate_weapons" in capsys.readouterr().out
    assert main(["evaluate", str(texts), "--json", "-"]) is ExitCode.DONE
    assert json.loads(capsys.readouterr().out) == json.loads(report.read_bytes())


@pytest.mark.parametrize("option", ["--json", "--out"])
def test_the_labelled_texts_are_never_overwritten(texts: Path, option: str) -> None:
    before = texts.read_bytes()
    with pytest.raises(ConfigurationError, match="the command reads it"):
        main(["evaluate", str(texts), option, str(texts)])
    assert texts.read_bytes() == before


@pytest.mark.parametrize("name", ["xstest.csv", "openai.json", "toxicchat.json", "beavertails.jsonl"])
def test_a_published_set_is_evaluated_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(SETS / name), "--format", name.partition(".")[0], "--json"]) is ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["format"] == name.partition(".")[0]


def test_a_run_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    given = [f"{'x' * 60_000}{number:03}" for number in range(8)]
    first, second = InterruptedModel(texts_max=5), InterruptedModel(texts_max=99)
    path = tmp_path / "scores.jsonl"
    with pytest.raises(KeyboardInterrupt):
        TextScorer(settings(), first).score(given, path, lambda _: None)
    assert first.scored == 5
    path.write_bytes(path.read_bytes() + b'{"text":"cut o')  # the machine died while it wrote a line
    costs: list[int] = []
    found = TextScorer(settings(), second).score(given, path, costs.append)
    assert second.scored == 3
    whole = TextScorer(settings(), InterruptedModel(texts_max=99)).score(given, None, lambda _: None)
    assert np.array_equal(found.scores, whole.scores)
    assert sum(costs) == sum(len(text) + 20 for text in given)  # the progress bar ends at 100 %


def test_the_scores_of_equal_texts_are_computed_once() -> None:
    model = InterruptedModel(texts_max=99)
    found = TextScorer(settings(), model).score(["a", "b", "a"], None, lambda _: None)
    assert model.scored == 2
    assert np.array_equal(found.scores[0], found.scores[2])


def test_scores_of_another_model_or_another_bound_are_not_used(tmp_path: Path) -> None:
    path, model = tmp_path / "scores.jsonl", InterruptedModel(texts_max=99)
    TextScorer(settings(), model).score(["a"], path, lambda _: None)
    given = load_settings({"WORKER_MODEL__PATH": "demo", "WORKER_MODEL__TOKENS_MAX": "8"}, {Need.MODEL}).settings
    TextScorer(given, model).score(["a"], path, lambda _: None)
    assert model.scored == 2
    TextScorer(settings(), model).score(["a"], path, lambda _: None)
    assert model.scored == 2


@pytest.mark.parametrize(
    ("name", "value"), [("VIEWS", "raw"), ("WINDOWS_MAX", "1"), ("WINDOW_OVERLAP_TOKENS", "9")]
)
def test_scores_of_other_views_or_windows_are_not_used(tmp_path: Path, name: str, value: str) -> None:
    path, model = tmp_path / "scores.jsonl", InterruptedModel(texts_max=99)
    environ = {"WORKER_MODEL__PATH": "demo", f"WORKER_TEXT__{name}": value}
    for given in (settings(), load_settings(environ, {Need.MODEL}).settings):
        TextScorer(given, model).score(["a"], path, lambda _: None)
    assert model.scored == 2


def test_a_score_file_keeps_every_bit_of_a_score(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    scores = np.random.default_rng(1).random((100, len(CATEGORY_SLUGS)), np.float32)
    keys = [text_key(str(number)) for number in range(100)]
    with ScoreFile(path, "one") as file:
        file.add(keys, list(scores))
    with ScoreFile(path, "one") as file:
        assert all(np.array_equal(file.get(key), row) for key, row in zip(keys, scores, strict=True))  # type: ignore[arg-type] # None is unequal
    assert "text" not in path.read_text().replace('"text"', "")


def test_a_file_that_is_no_score_file_is_refused_and_not_changed(texts: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_bytes(texts.read_bytes())
    with pytest.raises(ConfigurationError, match=r"other\.jsonl:1: .*not a score file"):
        main(["evaluate", str(texts), "--scores", str(other)])
    assert other.read_bytes() == texts.read_bytes()


def test_a_report_that_cannot_be_written_is_named(texts: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be written"):
        main(["evaluate", str(texts), "--json", str(tmp_path / "missing" / "report.json")])
