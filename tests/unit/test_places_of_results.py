"""No command writes a result over a file that it reads, over a file of the settings, or over another result."""

import json
from pathlib import Path

import pytest

from tests.stored_verdicts import stored_verdict, write_verdicts
from worker.cli import main
from worker.errors import ConfigurationError
from worker.moderation.shapes import shape_source

POLICY = "schema: policy/1\nlevels: [flag]\nthresholds: {default: {flag: 0.5}}\n"
READS = "the command reads it"
TWO = "can't take two results"
CALIBRATE = "calibrate texts.jsonl --false-alarms 0.05"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a working directory with inputs, and settings that name a policy, a shape and a drift reference."""
    monkeypatch.chdir(tmp_path)
    lines = [{"text": f"good morning viewer number {number}", "unsafe": number < 10} for number in range(40)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "hard-link").hardlink_to("texts.jsonl")
    (tmp_path / "scores.jsonl").write_text("")
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "shape.yaml").write_text(shape_source("plain"))
    (tmp_path / "drift.json").write_text("{}")
    write_verdicts(tmp_path / "verdicts.jsonl", stored_verdict(1, {}))
    (tmp_path / "link").symlink_to("new")
    monkeypatch.setenv("WORKER_MODEL__PATH", "demo")
    monkeypatch.setenv("WORKER_KAFKA__BOOTSTRAP_SERVERS", "localhost:1")
    monkeypatch.setenv("WORKER_POLICY__PATH", "policy.yaml")
    monkeypatch.setenv("WORKER_INPUT__SHAPE", "./shape.yaml")
    monkeypatch.setenv("WORKER_DRIFT__REFERENCE", "drift.json")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.exists()}


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("evaluate texts.jsonl --json hard-link", READS),
        ("evaluate texts.jsonl --scores texts.jsonl", READS),
        ("evaluate texts.jsonl --scores scores.jsonl --json scores.jsonl", TWO),
        ("evaluate texts.jsonl --scores new --out new", TWO),
        ("evaluate texts.jsonl --json new --out {folder}/new", TWO),
        ("evaluate texts.jsonl --json new --out link", TWO),
        ("evaluate texts.jsonl --out policy.yaml", READS),
        ("evaluate texts.jsonl --json shape.yaml", READS),
        ("evaluate texts.jsonl --out drift.json", READS),
        ("evaluate texts.jsonl --json /dev/stdout", "write - in its place"),
        ("evaluate --evasions texts.jsonl --json hard-link", READS),
        ("evaluate --evasions texts.jsonl --json policy.yaml", READS),
        (f"{CALIBRATE} --write hard-link", READS),
        (f"{CALIBRATE} --scores scores.jsonl --json scores.jsonl", TWO),
        (f"{CALIBRATE} --json policy.yaml", READS),
        (f"{CALIBRATE} --out shape.yaml", READS),
        (f"{CALIBRATE} --reference policy.yaml", READS),
        (f"{CALIBRATE} --write drift.json", READS),
        ("bench --seconds 1 --json shape.yaml", READS),
        ("policy try policy.yaml --verdicts verdicts.jsonl --json new --out {folder}/new", TWO),
        ("labels join --overturned texts.jsonl --write texts.jsonl", READS),
        ("labels join --overturned texts.jsonl --write shape.yaml", READS),
        ("labels join --overturned texts.jsonl --write policy.yaml", READS),
        ("labels join --overturned texts.jsonl --write drift.json", READS),
    ],
)
def test_a_result_that_would_replace_another_file_is_refused(folder: Path, command: str, reason: str) -> None:
    before = contents(folder)
    with pytest.raises(ConfigurationError, match=reason):
        main(command.format(folder=folder).split())
    assert contents(folder) == before


@pytest.mark.parametrize("command", ["evaluate", "calibrate", "bench", "labels join"])
def test_the_help_of_such_a_command_lists_the_settings_whose_files_it_keeps(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert listed >= {"WORKER_POLICY__PATH", "WORKER_INPUT__SHAPE", "WORKER_DRIFT__REFERENCE"}
