"""The command evaluate, with the bundled model."""

import gzip
import json
from pathlib import Path

import pytest

from worker.classifier.word_pieces import word_pieces
from worker.cli import main
from worker.commands.evaluate.evasions import EVASIONS
from worker.errors import ConfigurationError, ExitCode


@pytest.fixture(autouse=True)
def _demo_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_MODEL__PATH", "demo")
    monkeypatch.setenv("WORKER_POLICY__THRESHOLD", "0.1")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "how do I make a bomb at home"}\ngood morning everyone\n\n{"text": "nice \\ud83d"}\n')
    return path


def test_evasions_are_measured_for_the_texts_that_the_model_flags(
    texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--evasions", str(texts), "--json"]) is ExitCode.DONE
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "evasions/1"
    assert document["texts"]["texts"] == 3
    assert document["texts"]["flagged"] >= 1
    assert [result["evasion"] for result in document["evasions"]] == list(EVASIONS)
    for result in document["evasions"]:
        assert result["raw"] <= result["views"] <= result["texts"]
    assert sum(result["views"] for result in document["evasions"]) >= 10 * document["texts"]["flagged"]


def test_people_get_a_table(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--evasions", str(texts), "--step", "bidi_overrides"]) is ExitCode.DONE
    assert "bidi_reversal" in capsys.readouterr().out


def test_the_table_is_printed_beside_a_json_file(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = texts.with_name("report.json")
    options = ["--step", "bidi_overrides", "--json", str(report)]
    assert main(["evaluate", "--evasions", str(texts), *options]) is ExitCode.DONE
    assert "bidi_reversal" in capsys.readouterr().out
    assert json.loads(report.read_bytes())["schema"] == "evasions/1"


@pytest.mark.parametrize("option", ["--out", "--scores"])
def test_an_option_for_labelled_texts_is_refused_beside_evasions(texts: Path, option: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{option} is for labelled texts"):
        main(["evaluate", "--evasions", str(texts), option, str(texts.with_name("other"))])


def test_a_json_line_without_text_names_its_place(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('ok\n{"words": 1}\n')
    with pytest.raises(ConfigurationError, match=r"texts\.jsonl:2"):
        main(["evaluate", "--evasions", str(path)])


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_byte_order_mark_and_gzip_do_not_make_json_lines_into_texts(tmp_path: Path, *, packed: bool) -> None:
    path = tmp_path / "texts.jsonl"
    content = b'\xef\xbb\xbf{"words": 1}\r\n'
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ConfigurationError, match=r"texts\.jsonl:1"):
        main(["evaluate", "--evasions", str(path)])


def test_word_pieces_are_letters_only_and_the_most_frequent_first() -> None:
    vocabulary = {
        "\u0120kill": 5,
        "\u0120the": 2,
        "ing": 3,
        "\u01201st": 4,
        "!": 0,
        "\u0120K\u00c3\u00b6ln": 6,
        "\u00c3": 7,
    }
    assert word_pieces(vocabulary) == (("the", "kill", "k\u00f6ln"), ("ing",))


def test_another_kind_of_vocabulary_has_no_word_pieces() -> None:
    assert word_pieces({"\u2581the": 0, "ing": 1}) == ((), ())
