"""`compare`: two sets of verdicts on the same messages."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.labels import CATEGORY_SLUGS
from tests.stored_verdicts import stored_verdict, write_verdicts
from worker.cli import main
from worker.errors import ConfigurationError, ExitCode

ROOT = Path(__file__).parents[2]
SCHEMA = Draft202012Validator(json.loads((ROOT / "schemas/v1/comparison.schema.json").read_bytes()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared(folder: Path, a: list[Any], b: list[Any], *options: str) -> Any:
    files = [write_verdicts(folder / f"{name}.jsonl", *given) for name, given in (("a", a), ("b", b))]
    assert main(["compare", *files, "--json", "report.json", *options]) is ExitCode.DONE
    document = json.loads((folder / "report.json").read_bytes())
    SCHEMA.validate(document)
    return document


def test_the_table_is_printed_unless_json_or_the_page_is_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = [stored_verdict(1, {"hate": 0.9})], [stored_verdict(1, {"hate": 0.2})]
    compared(folder, a, b)
    assert "only A 1" in capsys.readouterr().out
    for option in (["--json"], ["--json", "-"]):
        assert main(["compare", "a.jsonl", "b.jsonl", *option]) is ExitCode.DONE
        assert json.loads(capsys.readouterr().out)["joined"] == 1
    assert main(["compare", "a.jsonl", "b.jsonl", "--out", "-"]) is ExitCode.DONE
    printed = capsys.readouterr().out
    assert printed.startswith("<!DOCTYPE html>")
    assert printed.endswith("</html>")


@pytest.mark.parametrize("place", ["-", "report", "./report"])
def test_two_results_have_two_places(folder: Path, place: str) -> None:
    write_verdicts(folder / "a.jsonl", stored_verdict(1, {}))
    with pytest.raises(ConfigurationError, match="can't take two results"):
        main(["compare", "a.jsonl", "a.jsonl", "--json", place, "--out", place.removeprefix("./")])


@pytest.mark.parametrize("option", ["--json", "--out"])
def test_an_input_is_never_overwritten(folder: Path, option: str) -> None:
    write_verdicts(folder / "a.jsonl", stored_verdict(1, {}))
    before = (folder / "a.jsonl").read_bytes()
    (folder / "link").symlink_to("a.jsonl")
    for name in ("./a.jsonl", "link"):
        with pytest.raises(ConfigurationError, match="the command reads it"):
            main(["compare", "a.jsonl", "a.jsonl", option, name])
    assert (folder / "a.jsonl").read_bytes() == before


def test_a_result_may_have_the_name_of_a_topic(folder: Path) -> None:
    write_verdicts(folder / "a.jsonl", stored_verdict(1, {}))
    with pytest.raises(ConfigurationError, match="WORKER_KAFKA__BOOTSTRAP_SERVERS"):  # so the name was accepted
        main(["compare", "a.jsonl", "moderation.verdicts", "--out", "moderation.verdicts"])


def category(document: Any, slug: str) -> Any:
    return document["categories"][CATEGORY_SLUGS.index(slug)]


def test_verdicts_are_joined_by_the_input_record_and_flags_are_counted_by_category(folder: Path) -> None:
    a = [stored_verdict(1, {"hate": 0.9}), stored_verdict(2, {"hate": 0.1}), stored_verdict(3, {"privacy": 0.9})]
    b = [stored_verdict(3, {"privacy": 0.8}), stored_verdict(1, {"hate": 0.2}), stored_verdict(2, {"hate": 0.7})]
    document = compared(folder, a, b)
    assert document["joined"] == 3
    assert document["flags"] == {"both": 1, "only_a": 1, "only_b": 1, "neither": 0}
    assert category(document, "hate")["flags"] == {"both": 0, "only_a": 1, "only_b": 1, "neither": 1}
    assert category(document, "privacy")["flags"]["both"] == 1


def test_differences_are_of_the_scores_of_b_minus_those_of_a(folder: Path) -> None:
    document = compared(
        folder,
        [stored_verdict(1, {"hate": 0.5}), stored_verdict(2, {"hate": 0.5})],
        [stored_verdict(1, {"hate": 0.75}), stored_verdict(2, {"hate": 0.25})],
    )
    scores = category(document, "hate")["scores"]
    assert (scores["mean"], scores["mean_absolute"], scores["largest_absolute"]) == (0, 0.25, 0.25)


def test_examples_are_given_by_offset_and_the_largest_differences_come_first(folder: Path) -> None:
    a = [stored_verdict(offset, {"hate": 0.1}) for offset in range(10)]
    b = [stored_verdict(offset, {"hate": 0.6 + offset / 100}) for offset in range(10)]
    found = category(compared(folder, a, b, "--examples", "2"), "hate")
    assert [one["offset"] for one in found["examples_only_b"]] == [9, 8]
    assert found["examples_only_b"][0]["score_b"] == 0.69
    assert found["examples_only_a"] == []


def test_a_later_verdict_on_the_same_record_counts_and_records_of_one_side_are_counted_apart(folder: Path) -> None:
    document = compared(
        folder,
        [stored_verdict(1, {"hate": 0.9}), stored_verdict(1, {"hate": 0.1}), stored_verdict(2, {"hate": 0.1})],
        [stored_verdict(1, {"hate": 0.1}), stored_verdict(7, {"hate": 0.1}), stored_verdict(8, {"hate": 0.1})],
    )
    assert (document["a"]["repeated"], document["a"]["only_here"], document["b"]["only_here"]) == (1, 1, 2)
    assert document["joined"] == 1
    assert document["flags"]["neither"] == 1


def test_sides_without_a_common_record_have_no_differences(folder: Path) -> None:
    document = compared(folder, [stored_verdict(1, {"hate": 0.9})], [stored_verdict(2, {"hate": 0.9})])
    assert document["joined"] == 0
    assert category(document, "hate")["scores"] is None


def test_people_get_a_table_and_a_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_verdicts(folder / "a.jsonl", stored_verdict(1, {"hate": 0.9}))
    b = write_verdicts(folder / "b.jsonl", stored_verdict(1, {"hate": 0.1}))
    assert main(["compare", a, b, "--out", "page.html"]) is ExitCode.DONE
    printed = capsys.readouterr().out
    assert "input records on both sides 1: both flag 0, only A 1" in printed
    assert "only A flags hate:" in printed
    assert "Comparison of verdicts" in (folder / "page.html").read_text()


def test_a_file_that_is_missing_is_named(folder: Path) -> None:
    here = write_verdicts(folder / "a.jsonl", stored_verdict(1, {"hate": 0.9}))
    with pytest.raises(ConfigurationError, match=r"missing\.jsonl can't be read"):
        main(["compare", here, "./missing.jsonl"])
