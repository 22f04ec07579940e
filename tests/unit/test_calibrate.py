"""The command calibrate, with the bundled model on made-up texts."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from worker.cli import main
from worker.commands.evaluate.decisions import thresholds_of
from worker.errors import ConfigurationError, ExitCode
from worker.moderation.policies import load_policy

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _demo_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_MODEL__PATH", "demo")


def texts(tmp_path: Path, **labels: Any) -> Path:
    """Write 400 texts in two languages, of which each fifth is about bombs."""
    path = tmp_path / "texts.jsonl"
    lines = []
    for number in range(400):
        bad = number % 5 == 0
        text = f"how do I make bomb number {number} at home" if bad else f"good morning viewer number {number}"
        answers = labels["labels"] if bad else {"unsafe": False}
        lines.append({"text": text, "language": "de" if number % 3 else "en", **answers})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def calibrate(path: Path, *options: str) -> tuple[Any, Path]:
    report, policy = path.with_suffix(".json"), path.with_suffix(".yaml")
    wanted = ["calibrate", str(path), "--json", str(report), "--write", str(policy), *options]
    assert main(wanted) is ExitCode.DONE
    document = json.loads(report.read_bytes())
    jsonschema.validate(document, json.loads((ROOT / "schemas/v1/calibration.schema.json").read_bytes()))
    return document, policy


def test_the_policy_that_is_written_is_the_one_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = texts(tmp_path, labels={"labels": {"indiscriminate_weapons": True}})
    reference, page = tmp_path / "drift.json", tmp_path / "page.html"
    document, policy = calibrate(
        path, "--false-alarms", "0.05", "--by", "language", "--reference", str(reference), "--out", str(page)
    )
    rows = {(row["category"], row["language"]): row for row in document["rows"]}
    written = thresholds_of(load_policy(str(policy)), ["de", "en"])
    chosen = rows["indiscriminate_weapons", None]["chosen"]
    assert written.shown("indiscriminate_weapons", None) == chosen["value"]
    assert chosen["low"] <= chosen["value"] <= chosen["high"]
    assert written.shown("indiscriminate_weapons", "de") == rows["indiscriminate_weapons", "de"]["chosen"]["value"]
    assert rows["hate", None]["kept_because"] == "0 positives; at least 30 are needed"
    assert rows["hate", None]["chosen"] is None
    assert document["split"]["chosen_on"] + document["split"]["held_out"] == 400
    drift = json.loads(reference.read_bytes())
    jsonschema.validate(drift, json.loads((ROOT / "schemas/v1/drift-reference.schema.json").read_bytes()))
    assert "Calibration on texts.jsonl" in page.read_text()
    assert "bomb" not in page.read_text() + policy.read_text() + reference.read_text()
    assert "kept: hate, all texts: 0 positives" in capsys.readouterr().err


def test_json_without_a_file_prints_only_json_if_the_policy_goes_to_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["calibrate", str(texts(tmp_path, labels={"unsafe": True})), "--precision", "0.9", "--json"]
    with pytest.raises(ConfigurationError, match=r"standard output \(-\) can't take two results"):
        main(wanted)
    assert main([*wanted, "--write", str(tmp_path / "policy.yaml")]) is ExitCode.DONE
    printed = capsys.readouterr()
    assert json.loads(printed.out)["schema"] == "calibration/1"
    assert "held_out" not in printed.err
    assert "threshold" not in printed.err


def test_the_policy_that_is_written_may_replace_the_policy_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = texts(tmp_path, labels={"unsafe": True})
    _, policy = calibrate(path, "--precision", "0.9")
    monkeypatch.setenv("WORKER_POLICY__PATH", str(policy))
    _, written = calibrate(path, "--precision", "0.8")
    assert written == policy
    assert "precision 0.8" in written.read_text()


def test_labels_that_only_say_unsafe_give_one_threshold_for_all_categories(tmp_path: Path) -> None:
    document, policy = calibrate(texts(tmp_path, labels={"unsafe": True}), "--precision", "0.9")
    [row] = document["rows"]
    assert row["category"] == "default"
    written = thresholds_of(load_policy(str(policy)), [])
    assert written.shown("hate", None) == written.shown("privacy", None) == row["chosen"]["value"]
    assert row["held_out_after"]["precision"]["value"] >= 0.8


def test_a_target_outside_0_to_1_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["calibrate", str(tmp_path / "x"), "--precision", "90"])


def test_a_file_with_too_few_groups_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "few.jsonl"
    path.write_text('{"text": "a", "unsafe": true}\n{"text": "b", "unsafe": false}\n')
    with pytest.raises(ConfigurationError, match="has 2 groups of texts; at least 10 are needed"):
        main(["calibrate", str(path), "--precision", "0.9"])


def test_the_policy_file_in_force_is_the_base_and_evaluate_decides_by_its_mildest_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = texts(tmp_path, labels={"labels": {"indiscriminate_weapons": True}})
    base = tmp_path / "base.yaml"
    base.write_text(
        "schema: policy/1\nversion: spring\nlevels: [review, remove]\n"
        "thresholds: {default: {review: 0.6, remove: 0.9}, hate: off}\n"
        "rules: [{name: german, when: {language: de}, thresholds: {privacy: {review: 0.2}}}]\n"
    )
    monkeypatch.setenv("WORKER_POLICY__PATH", str(base))
    report = tmp_path / "evaluation.json"
    scores = ("--scores", str(tmp_path / "scores.jsonl"))
    assert main(["evaluate", str(path), "--json", str(report), *scores]) is ExitCode.DONE
    evaluation = json.loads(report.read_bytes())
    assert evaluation["policy"] == {"version": "spring", "level": "review"}
    shown = {(row["category"], row["language"]): row["threshold"] for row in evaluation["rows"]}
    assert (shown["privacy", "de"], shown["privacy", "en"], shown["hate", None]) == (0.2, 0.6, None)
    document, policy = calibrate(path, "--false-alarms", "0.05", *scores)
    written = thresholds_of(load_policy(str(policy)), ["de", "en"])
    assert (written.level, written.shown("privacy", "de"), written.shown("privacy", "en")) == ("review", 0.2, 0.6)
    assert document["policy"]["version"] == "spring"
    kept = {row["category"]: row["kept_because"] for row in document["rows"]}
    assert kept["hate"] == "the policy in force switches this category off"
